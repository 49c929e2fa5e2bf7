-- title: Data sent elsewhere: service hook or trusted relay
-- severity: high
-- meaning: Events go to an address that somebody chose, or through a relay that can read them.
-- false positives: Hooks and relays that you want.
-- events: servicehook.create, servicehook.edit (data.url); trusted-relay.add, trusted-relay.edit
--   (data.name); org.edit (data.trustedRelays)
-- note: Sentry 23.7.1 does not write trusted-relay.*: there, org.edit shows changes to relays.
--   After the first change, it shows the former relays as "OrganizationOption object".
-- link: https://docs.sentry.io/product/relay/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'url', data->>'name', data->>'trustedRelays', '') AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND (event IN ('servicehook.create', 'servicehook.edit', 'trusted-relay.add', 'trusted-relay.edit')
    OR (event = 'org.edit' AND (data->>'trustedRelays') NOT LIKE '%to []'))
