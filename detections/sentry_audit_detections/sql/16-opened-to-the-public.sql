-- title: Issue sharing allowed, or project made public
-- severity: medium
-- meaning: People without an account can be shown issues.
-- false positives: Open-source projects.
-- events: org.edit (data.disable_shared_issues); project.edit (data.public, which every entry
--   holds: found if the project's previous entry did not say true); project.set-public
-- note: Sentry 23.7.1 does not log every change to disable_shared_issues: see drift. No current
--   user interface shows the setting "public". Servers up to version 22 write project.set-public.
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
