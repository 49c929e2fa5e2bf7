-- title: Sensitive change at night or on a weekend
-- severity: low
-- meaning: Somebody changed access, credentials or what is deleted when few look: from 22:00 to
--   06:00, on Saturday or Sunday, in UTC.
-- false positives: People in other time zones; those who work at night. Change the hours to
--   yours.
-- events: those of 01 to 17 that change access, credentials, privacy or deletion (dateCreated), save
--   project.edit and team.edit, which are mostly harmless
-- link: https://docs.sentry.io/security-legal-pii/security/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(nullif(note, ''), event) AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event IN ('org.edit', 'org.remove', 'sso.disable', 'sso.edit', 'sso-identity.link', 'member.invite',
    'member.add', 'member.edit', 'member.remove', 'api-key.create', 'api-key.edit',
    'org-auth-token.create', 'internal-integration.create', 'internal-integration.add-token',
    'sentry-app.install', 'integration.add', 'project.remove', 'project.remove-with-origin',
    'project.request-transfer', 'project.accept-transfer', 'servicehook.create',
    'servicehook.edit', 'trusted-relay.add', 'trusted-relay.edit', 'data-secrecy.waived')
  AND (extract(hour FROM dateCreated) < 6
    OR extract(hour FROM dateCreated) >= 22
    OR extract(isodow FROM dateCreated) >= 6)
