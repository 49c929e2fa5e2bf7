-- title: Project leaves or enters by transfer
-- severity: high
-- meaning: A project goes to another organization with its data, or comes from one.
-- false positives: Mergers and reorganizations.
-- events: project.request-transfer (giving side), project.accept-transfer (receiving side)
--   (data.slug, later versions data.project_slug)
-- note: The entry of a request does not say to whom.
-- link: https://docs.sentry.io/api/projects/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'slug', data->>'project_slug')
    || CASE event WHEN 'project.request-transfer' THEN ' is to leave' ELSE ' has come' END AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event IN ('project.request-transfer', 'project.accept-transfer')
