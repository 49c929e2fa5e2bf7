-- title: API key with write or admin scopes
-- severity: high
-- meaning: The key can change the organization, not just read it.
-- false positives: A key that a deployment needs. Renaming such a key counts as another hit.
-- events: api-key.create, api-key.edit (data.scopes, after the change)
-- link: https://docs.sentry.io/account/auth-tokens/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'label', '') || ' ' || (data->>'scopes') AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event IN ('api-key.create', 'api-key.edit')
  AND ((data->>'scopes') LIKE '%:write"%' OR (data->>'scopes') LIKE '%:admin"%')
