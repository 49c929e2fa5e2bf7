-- title: Single sign-on disabled, or no longer required
-- severity: high
-- meaning: Members can sign in without the identity provider, with whatever password they have at
--   Sentry.
-- false positives: A planned change of identity provider.
-- events: sso.disable (data.provider); sso.edit (data.require_link)
-- link: https://docs.sentry.io/organization/authentication/sso/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce('require_link: ' || (data->>'require_link'), 'provider: ' || (data->>'provider')) AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND (event = 'sso.disable'
    OR (event = 'sso.edit' AND (data->>'require_link') LIKE '%to False'))
