-- title: Sign-in identity linked to an account
-- severity: medium
-- meaning: From now on, an identity at the identity provider can sign in to this account.
-- false positives: Every member links one when single sign-on is introduced.
-- events: sso-identity.link (data.user_id)
-- link: https://docs.sentry.io/organization/authentication/sso/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  'user ' || coalesce(data->>'user_id', data->>'ident', 'unknown') AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event = 'sso-identity.link'
