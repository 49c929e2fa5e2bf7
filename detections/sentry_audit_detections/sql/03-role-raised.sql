-- title: Member raised to owner or manager
-- severity: high
-- meaning: Somebody who is in the organization already was given control of it, alone or with all
--   of a team.
-- false positives: Promotions. For a member or a team whose earlier entries are not in the table,
--   the former role may not be known, and any edit of an owner or manager is found.
-- events: member.edit (data.role), the former role being in the same member's entry before:
--   member.invite, member.add, member.accept-invite, member.edit; team.create, team.edit
--   (data.org_role, data.old_org_role)
-- note: Teams have roles in the organization from Sentry 23 on, where a plan or a flag allows it.
-- link: https://docs.sentry.io/organization/membership/
WITH given AS (
  SELECT *,
    event IN ('team.create', 'team.edit') AS to_team,
    CASE WHEN event LIKE 'team.%' THEN data->>'org_role' ELSE data->>'role' END AS role
  FROM audit_logs
  WHERE event IN ('member.invite', 'member.add', 'member.accept-invite', 'member.edit',
    'team.create', 'team.edit')
), roles AS (
  SELECT *,
    coalesce(
      lag(role) OVER (
        PARTITION BY organization, to_team, coalesce(targetObject, data->>'email', id)
        ORDER BY dateCreated, id
      ),
      data->>'old_org_role'
    ) AS former_role
  FROM given
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  CASE WHEN to_team THEN 'team ' || coalesce(data->>'slug', '') ELSE coalesce(data->>'email', 'a member') END
    || ': ' || coalesce(former_role, CASE WHEN to_team THEN 'none' ELSE 'unknown' END) || ' -> ' || role
    AS detail
FROM roles CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event IN ('member.edit', 'team.create', 'team.edit')
  AND ((role = 'owner' AND coalesce(former_role, '') <> 'owner')
    OR (role = 'manager' AND coalesce(former_role, '') NOT IN ('manager', 'owner')))
