-- title: Any origin may send events, or TLS is not verified
-- severity: medium
-- meaning: Web pages of anybody can send events to the project, or Sentry fetches source files
--   from whoever answers.
-- false positives: The asterisk is the default of a new project: an edit that restores it is
--   found.
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
