-- title: Person from outside the company's domains invited
-- severity: medium
-- meaning: An invitation went to a domain of which nobody has acted in this organization so far,
--   or to a public mail provider.
-- false positives: The first contractor of a domain. Once somebody from a domain has acted in the
--   organization, it is taken for one of the company's.
-- events: member.invite, member.add (data.email); actor.email of earlier entries
-- link: https://docs.sentry.io/organization/membership/
WITH invited AS (
  SELECT *, lower(split_part(data->>'email', '@', 2)) AS domain
  FROM audit_logs
  WHERE event IN ('member.invite', 'member.add')
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  data->>'email' AS detail
FROM invited CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND domain <> ''
  AND (domain IN ('gmail.com', 'googlemail.com', 'outlook.com', 'hotmail.com', 'live.com',
      'yahoo.com', 'icloud.com', 'me.com', 'aol.com', 'gmx.com', 'gmx.de', 'mail.com', 'mail.ru',
      'yandex.ru', 'qq.com', '163.com', 'proton.me', 'protonmail.com')
    OR NOT EXISTS (
      SELECT 1
      FROM audit_logs AS earlier
      WHERE earlier.organization = invited.organization
        AND earlier.dateCreated <= invited.dateCreated
        AND lower(split_part(earlier.actor->>'email', '@', 2)) = invited.domain
    ))
