-- title: Person acts from an address never seen for them
-- severity: medium
-- meaning: After at least 30 days of history somebody acts from another IP address for the first
--   time.
-- false positives: Travel, home offices, changing addresses, a new VPN.
-- events: every event (ipAddress, actor.id)
-- link: https://docs.sentry.io/security-legal-pii/security/
WITH seen AS (
  SELECT *,
    row_number() OVER (
      PARTITION BY organization, actorId, ipAddress ORDER BY dateCreated, id
    ) AS turn,
    min(dateCreated) OVER (PARTITION BY organization, actorId) AS first_seen
  FROM audit_logs
  WHERE actorId IS NOT NULL AND ipAddress <> ''
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  'first time from ' || ipAddress AS detail
FROM seen CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND turn = 1
  AND first_seen <= dateCreated - INTERVAL '30 days'
