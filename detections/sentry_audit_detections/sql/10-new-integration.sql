-- title: Integration new to this organization
-- severity: medium
-- meaning: The first installation of an app or service. Only 09 finds one that is installed
--   again.
-- false positives: A first use that was agreed on. Without the log from its beginning, everything
--   looks new.
-- events: sentry-app.install (data.sentry_app), integration.add (data.provider or
--   data.integration); internal-integration.create
-- link: https://docs.sentry.io/organization/integrations/
WITH internal AS MATERIALIZED (
  SELECT organization, dateCreated, data->>'name' AS name
  FROM audit_logs
  WHERE event = 'internal-integration.create'
), installed AS (
  SELECT *,
    row_number() OVER (
      PARTITION BY organization, event, coalesce(data->>'sentry_app', data->>'provider', data->>'integration')
      ORDER BY dateCreated, id
    ) AS turn
  FROM audit_logs
  WHERE event IN ('sentry-app.install', 'integration.add')
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'sentry_app', data->>'provider', data->>'integration') AS detail
FROM installed CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND turn = 1
  AND NOT EXISTS (
    SELECT 1
    FROM internal
    WHERE internal.organization = installed.organization
      AND internal.name = (installed.data->>'sentry_app')
      AND internal.dateCreated BETWEEN installed.dateCreated - INTERVAL '1 minute'
        AND installed.dateCreated + INTERVAL '1 minute'
  )
