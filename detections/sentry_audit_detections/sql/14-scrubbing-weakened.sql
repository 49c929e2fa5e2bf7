-- title: Data scrubbing weakened
-- severity: high
-- meaning: Personal data or secrets reach Sentry, or stay in its emails, which were removed
--   before.
-- false positives: A project that scrubs by rules of its own. A restored default is found as
--   well.
-- events: org.edit (data.dataScrubber, dataScrubberDefaults, scrubIPAddresses, enhanced_privacy,
--   safeFields, sensitiveFields, relayPiiConfig); project.edit (data."sentry:scrub_data", "sentry:scrub_defaults",
--   "sentry:scrub_ip_address", "sentry:safe_fields", "sentry:sensitive_fields")
-- note: Sentry 23.7.1 does not log each change of a flag such as enhanced_privacy: see drift.
--   Of rules for advanced scrubbing it is found only that an organization removes all.
-- link: https://docs.sentry.io/security-legal-pii/scrubbing/server-side-scrubbing/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  CASE event WHEN 'org.edit' THEN 'organization' ELSE coalesce(data->>'slug', 'project') END
    || coalesce(', data scrubber: ' || coalesce(data->>'dataScrubber', data->>'sentry:scrub_data'), '')
    || coalesce(
      ', defaults: ' || coalesce(data->>'dataScrubberDefaults', data->>'sentry:scrub_defaults'), ''
    )
    || coalesce(
      ', IP addresses: ' || coalesce(data->>'scrubIPAddresses', data->>'sentry:scrub_ip_address'), ''
    )
    || coalesce(', enhanced privacy: ' || (data->>'enhanced_privacy'), '')
    || coalesce(
      ', safe fields: ' || coalesce(data->>'safeFields', data->>'sentry:safe_fields'), ''
    )
    || coalesce(
      ', sensitive fields: ' || coalesce(data->>'sensitiveFields', data->>'sentry:sensitive_fields'), ''
    )
    || CASE WHEN (data->>'relayPiiConfig') LIKE '%} to ' THEN ', rules: removed' ELSE '' END AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND ((event = 'org.edit'
      AND ((data->>'dataScrubber') LIKE '%to False'
        OR (data->>'dataScrubberDefaults') LIKE '%to False'
        OR (data->>'scrubIPAddresses') LIKE '%to False'
        OR (data->>'enhanced_privacy') LIKE '%to False'
        OR (data->>'safeFields') NOT LIKE '%to []'
        OR (data->>'sensitiveFields') LIKE '%to []'
        OR (data->>'relayPiiConfig') LIKE 'from {%} to '))
    OR (event = 'project.edit'
      AND ((data->>'sentry:scrub_data') = 'false'
        OR (data->>'sentry:scrub_defaults') = 'false'
        OR (data->>'sentry:scrub_ip_address') = 'false'
        OR (data->>'sentry:safe_fields') <> '[]'
        OR (data->>'sentry:sensitive_fields') = '[]')))
