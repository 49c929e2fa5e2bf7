// Starts npm's mock receiver, prints its URL, and writes each log record that it has decoded into
// the file that is its argument.
const { appendFileSync } = require('node:fs');
const { ServerResponse } = require('node:http');
const { MockOtlpServer } = require('@elastic/mockotlpserver');

// It answers JSON with {"ok":1}, whatever the path, and that is no answer of OTLP. Only what it
// decodes is wanted here.
const end = ServerResponse.prototype.end;
ServerResponse.prototype.end = function (body) {
  return end.call(this, body === '{"ok":1}' ? '{}' : body);
};

const text = (value) => (Object.hasOwn(value, 'stringValue') ? value.stringValue : null);
const attributes = (pairs) =>
  Object.fromEntries(pairs.map(({ key, value }) => [key, text(value)]));

const server = new MockOtlpServer({
  services: ['http'],
  httpHostname: '127.0.0.1',
  httpPort: 0,
  logLevel: 'fatal',
  onLogs: ({ resourceLogs }) => {
    for (const { scopeLogs } of resourceLogs)
      for (const { logRecords } of scopeLogs)
        for (const { timeUnixNano, body, attributes: pairs } of logRecords)
          appendFileSync(
            process.argv[2],
            JSON.stringify({
              time: timeUnixNano.toString(),
              body: body.stringValue,
              attributes: attributes(pairs),
            }) + '\n',
          );
  },
});
server.start().then(() => console.log(server.httpUrl.origin));
