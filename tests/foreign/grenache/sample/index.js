'use strict'

module.exports.sample = list => list[Math.floor(Math.random() * list.length)]
module.exports.shuffle = list => [...list].sort(() => Math.random() - 0.5)
