-- title: Project deleted
-- severity: high
-- meaning: A project is gone, with all its issues and events.
-- false positives: Cleaning up.
-- events: project.remove, project.remove-with-origin (data.slug)
-- link: https://docs.sentry.io/api/projects/delete-a-project/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  data->>'slug' AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event IN ('project.remove', 'project.remove-with-origin')
