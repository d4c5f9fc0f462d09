'use strict'
// A client of Grenache: `client.js GRAPE request|map SERVICE PAYLOAD` prints the answer.

const Link = require('grenache-nodejs-link')
const { PeerRPCClient } = require('grenache-nodejs-ws')

const [grape, verb, service, payload] = process.argv.slice(2)
const link = new Link({ grape })
link.start()
const peer = new PeerRPCClient(link, {})
peer.init()
peer[verb](service, JSON.parse(payload), { timeout: 10000 }, (error, result) => {
  console.log(error ? `ERROR ${error.message}` : `ANSWER ${JSON.stringify(result)}`)
  process.exit(0)
})
