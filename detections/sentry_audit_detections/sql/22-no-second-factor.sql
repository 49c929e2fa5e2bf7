-- title: Action by an account without a second factor
-- severity: medium
-- meaning: Only a password protects an account that changes the organization. The detection finds
--   the account's first entry in the period.
-- false positives: Accounts that use single sign-on have their second factor at the identity
--   provider. The flag is as it was when the entry was read, not when it was written.
-- events: every event (actor.has2fa)
-- link: https://docs.sentry.io/organization/authentication/two-factor-authentication/
WITH unprotected AS (
  SELECT audit_logs.*,
    row_number() OVER (PARTITION BY organization, actorId ORDER BY dateCreated, id) AS turn
  FROM audit_logs CROSS JOIN period
  WHERE dateCreated >= since AND dateCreated < until
    AND (actor->>'has2fa') = 'false'
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(nullif(note, ''), event) AS detail
FROM unprotected
WHERE turn = 1
