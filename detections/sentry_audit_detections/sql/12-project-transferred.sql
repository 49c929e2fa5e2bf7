-- title: Project transferred out or in
-- severity: high
-- meaning: A project moves to another organization with its data, or arrives from one.
-- false positives: Mergers and reorganizations.
-- events: project.request-transfer (giving side), project.accept-transfer (receiving side)
--   (data.slug, later versions data.project_slug)
-- note: The entry about a request does not say who is to receive the project.
-- link: https://docs.sentry.io/api/projects/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'slug', data->>'project_slug')
    || CASE event WHEN 'project.request-transfer' THEN ' is to leave' ELSE ' has come' END AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event IN ('project.request-transfer', 'project.accept-transfer')
