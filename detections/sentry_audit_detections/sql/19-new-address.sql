-- title: Person acts from an IP address new to them
-- severity: medium
-- meaning: After at least 30 days of history, somebody acts from another IP address for the first
--   time.
-- false positives: Travel, working from home, changing addresses, a new VPN.
-- events: every event (ipAddress, actor.id)
-- link: https://docs.sentry.io/security-legal-pii/security/
WITH known AS (
  SELECT organization, actorId, ipAddress, min(dateCreated) AS first_there
  FROM audit_logs
  WHERE ipAddress <> ''
  GROUP BY 1, 2, 3
), people AS (
  SELECT organization, actorId, min(first_there) AS first_seen
  FROM known
  GROUP BY 1, 2
), acts AS (
  SELECT audit_logs.*,
    row_number() OVER (
      PARTITION BY organization, actorId, ipAddress ORDER BY dateCreated, id
    ) AS turn
  FROM audit_logs CROSS JOIN period
  WHERE dateCreated >= since AND dateCreated < until
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  'first time from ' || ipAddress AS detail
FROM acts JOIN known USING (organization, actorId, ipAddress) JOIN people USING (organization, actorId)
WHERE turn = 1
  AND dateCreated = first_there
  AND first_seen <= dateCreated - INTERVAL '30 days'
