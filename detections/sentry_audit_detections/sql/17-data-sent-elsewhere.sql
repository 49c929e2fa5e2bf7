-- title: Data sent elsewhere: service hook or trusted relay
-- severity: high
-- meaning: Events go to an address of somebody's choice, or through a relay that can read them.
-- false positives: Wanted hooks and relays.
-- events: servicehook.create, servicehook.edit (data.url); trusted-relay.add, trusted-relay.edit
--   (data.name); org.edit (data.trustedRelays)
-- note: Sentry 23.7.1 writes no trusted-relay.*: there, org.edit tells of relays. After the first
--   change it names the former relays as "OrganizationOption object".
-- link: https://docs.sentry.io/product/relay/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'url', data->>'name', data->>'trustedRelays', '') AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND (event IN ('servicehook.create', 'servicehook.edit', 'trusted-relay.add', 'trusted-relay.edit')
    OR (event = 'org.edit' AND (data->>'trustedRelays') NOT LIKE '%to []'))
