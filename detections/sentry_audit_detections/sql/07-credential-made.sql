-- title: Organization-wide credential created
-- severity: high
-- meaning: A new key or token acts on behalf of the whole organization, and outlives the account
--   of the person who created it.
-- false positives: Setting up CI or an integration.
-- events: api-key.create (data.label, data.scopes), org-auth-token.create (data.name),
--   internal-integration.create (data.name), internal-integration.add-token (data.sentry_app)
-- note: Sentry 23.7.1 never writes internal-integration.add-token: further tokens of an internal
--   integration leave no entry there. Personal tokens are not in any audit log.
-- link: https://docs.sentry.io/account/auth-tokens/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'label', data->>'name', data->>'sentry_app', '') || coalesce(' ' || (data->>'scopes'), '') AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event IN ('api-key.create', 'org-auth-token.create', 'internal-integration.create',
    'internal-integration.add-token')
