-- title: Any origin may send events, or TLS is not verified
-- severity: medium
-- meaning: Anybody's web page can send events to the project, or Sentry fetches source files from
--   whatever server answers.
-- false positives: The asterisk is the default of a new project, so an edit that restores it is
--   found, too.
-- events: project.edit (data."sentry:origins", data."sentry:verify_ssl")
-- link: https://docs.sentry.io/security-legal-pii/security/
SELECT organization, id, dateCreated, event, actorName, ipAddress,
  coalesce(data->>'slug', 'project')
    || coalesce(', origins: ' || (data->>'sentry:origins'), '')
    || coalesce(', verify TLS: ' || (data->>'sentry:verify_ssl'), '') AS detail
FROM audit_logs CROSS JOIN period
WHERE dateCreated >= since AND dateCreated < until
  AND event = 'project.edit'
  AND ((data->>'sentry:origins') LIKE '%"*"%'
    OR (data->>'sentry:origins') = '*'
    OR (data->>'sentry:verify_ssl') = 'false')
