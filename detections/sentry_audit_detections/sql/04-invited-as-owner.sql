-- title: Person invited or added directly as owner or manager
-- severity: high
-- meaning: Somebody new gained control of the organization at once.
-- false positives: The first colleagues in a new organization.
-- events: member.invite, member.add (data.role)
-- link: https://docs.sentry.io/organization/membership/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'email', 'a member') || ' as ' || (data->>'role') AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event IN ('member.invite', 'member.add')
  AND (data->>'role') IN ('owner', 'manager')
