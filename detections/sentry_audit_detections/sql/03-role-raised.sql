-- title: Member raised to owner or manager
-- severity: high
-- meaning: Somebody who is in the organization already was given control of it.
-- false positives: Promotions. For a member whose earlier entries are not in the table, the
--   former role is not known, and any edit of an owner or manager is found.
-- events: member.edit (data.role); the former role is in the same member's entry before:
--   member.invite, member.add, member.accept-invite, member.edit
-- link: https://docs.sentry.io/organization/membership/
WITH memberships AS (
  SELECT *,
    data->>'role' AS role,
    lag(data->>'role') OVER (
      PARTITION BY organization, targetObject ORDER BY dateCreated, id
    ) AS former_role
  FROM audit_logs
  WHERE event IN ('member.invite', 'member.add', 'member.accept-invite', 'member.edit')
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'email', 'a member') || ': ' || coalesce(former_role, 'unknown') || ' -> ' || role
    AS detail
FROM memberships CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event = 'member.edit'
  AND ((role = 'owner' AND coalesce(former_role, '') <> 'owner')
    OR (role = 'manager' AND coalesce(former_role, '') NOT IN ('manager', 'owner')))
