-- title: Many removals by one actor within an hour
-- severity: critical
-- meaning: Somebody removes members, teams, projects, keys or alerts in bulk: sabotage, or a
--   script gone wrong. The entry found is the tenth removal within an hour.
-- false positives: Clearing up old projects; an identity provider that removes leavers through
--   SCIM.
-- events: *.remove, project.remove-with-origin, sentry-app.uninstall, member.leave-team
-- note: Deleted issues (issue.delete) are not counted: many at once are everyday work.
-- link: https://docs.sentry.io/organization/membership/
WITH removals AS (
  SELECT *, coalesce(actorId, actorName, '') AS who
  FROM audit_logs CROSS JOIN period
  WHERE dateCreated >= since - INTERVAL '2 hours' AND dateCreated < until
    AND (event LIKE '%.remove' OR event LIKE '%.remove-%'
      OR event IN ('sentry-app.uninstall', 'member.leave-team'))
), counted AS (
  SELECT *,
    count(*) OVER (
      PARTITION BY organization, who ORDER BY dateCreated
      RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW
    ) AS found
  FROM removals
), reached AS (
  SELECT *,
    lag(found, 1, 0) OVER (PARTITION BY organization, who ORDER BY dateCreated, id) AS found_before
  FROM counted
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  found || ' removals within an hour' AS detail
FROM reached
WHERE dateCreated >= since AND dateCreated < until
  AND found >= 10
  AND found_before < 10
