-- title: Person from outside the company's domains invited
-- severity: medium
-- meaning: An invitation went to a public mail provider, or to a domain from which nobody has
--   acted in this organization so far.
-- false positives: The first contractor from a domain. Once somebody from a domain has acted in
--   the organization, the domain counts as one of the company's.
-- events: member.invite, member.add (data.email); actor.email of earlier entries
-- link: https://docs.sentry.io/organization/membership/
WITH invited AS (
  SELECT *, lower(split_part(data->>'email', '@', 2)) AS domain
  FROM audit_logs CROSS JOIN period
  WHERE dateCreated >= since AND dateCreated < until
    AND event IN ('member.invite', 'member.add')
), acts AS (
  SELECT organization, actor->>'email' AS email, dateCreated
  FROM audit_logs
), people AS MATERIALIZED (
  SELECT organization, email, min(dateCreated) AS first_seen
  FROM acts
  GROUP BY 1, 2
), acting AS (
  SELECT organization, lower(split_part(email, '@', 2)) AS domain, min(first_seen) AS first_seen
  FROM people
  GROUP BY 1, 2
)
SELECT invited.organization, id, dateCreated, event, actorName, ipAddress,
  data->>'email' AS detail
FROM invited
LEFT JOIN acting
  ON acting.organization = invited.organization
  AND acting.domain = invited.domain
  AND acting.first_seen <= invited.dateCreated
WHERE invited.domain <> ''
  AND (acting.domain IS NULL
    OR invited.domain IN ('gmail.com', 'googlemail.com', 'outlook.com', 'hotmail.com', 'live.com',
      'yahoo.com', 'icloud.com', 'me.com', 'aol.com', 'gmx.com', 'gmx.de', 'mail.com', 'mail.ru',
      'yandex.ru', 'qq.com', '163.com', 'proton.me', 'protonmail.com'))
