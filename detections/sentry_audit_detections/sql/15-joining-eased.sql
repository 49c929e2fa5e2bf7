-- title: Default role raised, or joining made easier
-- severity: high
-- meaning: New members get more rights than before, or need nobody's consent to join.
-- false positives: Small organizations that trust every member with everything.
-- events: org.edit (data.default_role, data.allowJoinRequests, data.allow_joinleave); sso.edit
--   (data.default_role)
-- note: Sentry 23.7.1 does not log every change to allow_joinleave and default_role: see drift.
-- link: https://docs.sentry.io/organization/membership/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  concat_ws(', ', 'default role: ' || (data->>'default_role'),
    'join requests: ' || (data->>'allowJoinRequests'), 'open membership: ' || (data->>'allow_joinleave')) AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND ((event IN ('org.edit', 'sso.edit')
      AND ((data->>'default_role') LIKE '%to owner'
        OR ((data->>'default_role') LIKE '%to manager' AND (data->>'default_role') NOT LIKE 'from owner%')
        OR ((data->>'default_role') LIKE '%to admin'
          AND (data->>'default_role') NOT LIKE 'from owner%'
          AND (data->>'default_role') NOT LIKE 'from manager%')))
    OR (event = 'org.edit'
      AND ((data->>'allowJoinRequests') LIKE '%to True'
        OR (data->>'allow_joinleave') LIKE '%to True')))
