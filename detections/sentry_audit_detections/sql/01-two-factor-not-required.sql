-- title: Two-factor requirement switched off
-- severity: high
-- meaning: Members no longer need a second factor: a stolen password is enough to sign in.
-- false positives: Sentry switches the requirement off by itself when single sign-on is set up;
--   the detail then says "when enabling SSO".
-- events: org.edit (data.require_2fa)
-- link: https://docs.sentry.io/organization/authentication/two-factor-authentication/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  'require_2fa: ' || (data->>'require_2fa') AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event = 'org.edit'
  AND (data->>'require_2fa') LIKE '%to False%'
