'use strict'
// A service of Grenache: `service.js GRAPE SERVICE PORT` prints and acknowledges each request, until
// stdin ends.

const Link = require('grenache-nodejs-link')
const { PeerRPCServer } = require('grenache-nodejs-ws')

const [grape, service, port] = process.argv.slice(2)
const link = new Link({ grape })
link.start()
const peer = new PeerRPCServer(link, {})
peer.init()
const transport = peer.transport('server')
transport.listen(Number(port))
transport.on('request', (rid, key, payload, handler) => {
  console.log(`REQUEST ${key} ${JSON.stringify(payload)}`)
  handler.reply(null, { ack: true })
})
link.startAnnouncing(service, Number(port), {}, error => {
  console.log(error ? `ERROR ${error.message}` : 'READY')
})
process.stdin.on('end', () => process.exit(0)).resume()
