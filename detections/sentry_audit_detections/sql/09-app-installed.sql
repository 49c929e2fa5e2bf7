-- title: Third-party app or integration installed
-- severity: medium
-- meaning: From now on, another service can read issues and events, or Sentry sends them to it.
-- false positives: Integrations that you want. Internal integrations are left out: 07 finds their
--   creation.
-- events: sentry-app.install (data.sentry_app), integration.add (data.provider and data.name, or
--   data.integration and data.project); internal-integration.create
-- link: https://docs.sentry.io/organization/integrations/
WITH internal AS MATERIALIZED (
  SELECT organization, dateCreated, data->>'name' AS name
  FROM audit_logs
  WHERE event = 'internal-integration.create'
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'sentry_app', data->>'provider', data->>'integration')
    || coalesce(' ' || (data->>'name'), ' in ' || (data->>'project'), '') AS detail
FROM audit_logs AS installed CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event IN ('sentry-app.install', 'integration.add')
  AND NOT EXISTS (
    SELECT 1
    FROM internal
    WHERE internal.organization = installed.organization
      AND internal.name = (installed.data->>'sentry_app')
      AND internal.dateCreated BETWEEN installed.dateCreated - INTERVAL '1 minute'
        AND installed.dateCreated + INTERVAL '1 minute'
  )
