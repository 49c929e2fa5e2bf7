-- title: Alarms silenced in a row
-- severity: medium
-- meaning: Somebody muted, disabled or removed three alerts or monitors within ten minutes. The entry found
--   is the third.
-- false positives: Maintenance; clearing up alerts.
-- events: rule.mute, rule.disable, rule.remove, alertrule.mute, alertrule.remove;
--   monitor.remove; detector.remove, workflow.remove
-- note: Sentry 23.7.1 knows no rule.disable, detectors or workflows. What somebody mutes for themselves only has no
--   entry.
-- link: https://docs.sentry.io/product/alerts/
WITH silenced AS (
  SELECT *, coalesce(actorId, actorName, '') AS who
  FROM audit_logs CROSS JOIN period
  WHERE dateCreated >= since - INTERVAL '20 minutes' AND dateCreated < until
    AND event IN ('rule.mute', 'rule.disable', 'rule.remove', 'alertrule.mute',
      'alertrule.remove', 'monitor.remove', 'detector.remove', 'workflow.remove')
), counted AS (
  SELECT *,
    count(*) OVER (
      PARTITION BY organization, who ORDER BY dateCreated
      RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW
    ) AS found
  FROM silenced
), reached AS (
  SELECT *,
    lag(found, 1, 0) OVER (PARTITION BY organization, who ORDER BY dateCreated, id) AS found_before
  FROM counted
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  found || ' alerts silenced within ten minutes' AS detail
FROM reached
WHERE dateCreated >= since AND dateCreated < until
  AND found >= 3
  AND found_before < 3
