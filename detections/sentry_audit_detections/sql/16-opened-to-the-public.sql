-- title: Issue sharing allowed, or project made public
-- severity: medium
-- meaning: Issues can be shown to people without an account.
-- false positives: Open-source projects.
-- events: org.edit (data.disable_shared_issues); project.edit (data.public, which each entry
--   holds: found where the project's entry before did not say true); project.set-public
-- note: Sentry 23.7.1 does not log each change of disable_shared_issues: see drift. The setting
--   "public" is in no current user interface. Servers until 22 write project.set-public.
-- link: https://docs.sentry.io/product/issues/
WITH edits AS (
  SELECT *,
    lag(data->>'public') OVER (
      PARTITION BY organization, event <> 'org.edit', coalesce(targetObject, data->>'slug', id)
      ORDER BY dateCreated, id
    ) AS public_before
  FROM audit_logs
  WHERE event IN ('org.edit', 'project.create', 'project.edit', 'project.set-public')
)
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce('disable_shared_issues: ' || (data->>'disable_shared_issues'),
    coalesce(data->>'slug', 'a project') || ' is public') AS detail
FROM edits CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND ((event = 'org.edit' AND (data->>'disable_shared_issues') LIKE '%to False')
    OR event = 'project.set-public'
    OR (event = 'project.edit'
      AND (data->>'public') = 'true'
      AND coalesce(public_before, 'false') <> 'true'))
