// A bcoin full node on its regtest, driven by one JSON object a line on standard input, answered by one a line
// on standard output. What of bcoin's regtest is set differently, and why, is in README.md.
//
//   node peer.js '{"genesis": HEX, "program": HEX, "bonus": 0}'
'use strict';

const readline = require('readline');

// Nothing native is built: hashes by Node.js itself, all else in JavaScript, the chain in memory.
const hash256 = require('bcrypto/lib/hash256');
process.env.NODE_BACKEND = 'js';
const level = require.resolve('leveldown');
require.cache[level] = {id: level, filename: level, loaded: true, exports: null};

const networks = require('bcoin/lib/protocol/networks');
const settings = JSON.parse(process.argv[2] || '{}');
configure(networks.regtest);
if (settings.bonus)
  payMore(settings.bonus);

// Only now: bcoin reads the table of networks as it loads.
const bcoin = require('bcoin');
const {thresholdStates} = require('bcoin/lib/blockchain/common');
const {Address, Block, FullNode} = bcoin;

const node = new FullNode({
  network: 'regtest',
  memory: true,
  config: false,
  listen: true,
  host: '127.0.0.1',
  httpHost: '127.0.0.1',
  httpPort: 0,
  seeds: [],
  workers: false,
  logLevel: 'none',
  coinbaseFlags: 'quantumcoin lab'
});
// What bcoin's options can't say: any free port; ask no name server for our address; dial nobody.
node.pool.options.port = 0;
node.pool.discoverExternal = async () => {};
node.pool.fillOutbound = () => {};

main().catch((error) => {
  process.stderr.write(`peer.js: ${error.stack}\n`);
  process.exit(1);
});

// The regtest of bcoin 1.0.2, with another first block and today's rules from block 1 on.
function configure(regtest) {
  const raw = Buffer.from(settings.genesis, 'hex');
  const hash = hash256.digest(raw.slice(0, 80));
  regtest.genesis = {
    version: raw.readInt32LE(0),
    hash: hash.toString('hex'),
    prevBlock: raw.slice(4, 36).toString('hex'),
    merkleRoot: raw.slice(36, 68).toString('hex'),
    time: raw.readUInt32LE(68),
    bits: raw.readUInt32LE(72),
    nonce: raw.readUInt32LE(76),
    height: 0
  };
  regtest.genesisBlock = settings.genesis;
  regtest.seeds = [];
  regtest.block.bip34height = 1;
  for (const deployment of [regtest.deployments.csv, regtest.deployments.segwit]) {
    deployment.window = 1;
    deployment.threshold = 1;
  }
}

// A bcoin that pays more than its rules allow, and thinks nothing of it.
function payMore(bonus) {
  const consensus = require('bcoin/lib/protocol/consensus');
  const {getReward} = consensus;
  consensus.getReward = (height, interval) => getReward(height, interval) + bonus;
}

async function main() {
  node.on('error', error => process.stderr.write(`bcoin: ${error.message}\n`));
  const listening = new Promise(resolve => node.pool.once('listening', resolve));
  await node.ensure();
  await node.open();
  // Version bits can't make rules active before the third block: tell the cache that these always were.
  const {csv, segwit} = node.network.deployments;
  for (const {bit} of [csv, segwit])
    node.chain.db.stateCache.insert(bit, node.chain.tip.hash, thresholdStates.ACTIVE);
  await node.connect();
  const {port} = await listening;
  say({
    port,
    bcoin: bcoin.pkg.version,
    genesis: display(node.chain.tip.hash),
    magic: node.network.magic,
    protocol: node.pool.options.version
  });
  const lines = readline.createInterface({input: process.stdin});
  for await (const line of lines)
    say(await obey(JSON.parse(line)));
  await node.disconnect();
  await node.close();
}

async function obey(order) {
  switch (order.do) {
    case 'mine':
      return mine(order);
    case 'template':
      return {raw: (await solve(node.chain.tip)).toRaw().toString('hex')};
    case 'add':
      return add(order);
    case 'judge':
      return judge(order);
    case 'chain':
      return chain(order);
    case 'corrupt':
      return corrupt(order);
    default:
      throw new Error(`unknown order: ${order.do}`);
  }
}

// Mines `blocks` blocks on the block at height `on` of the main chain, or on the tip, and gives them to
// bcoin's own chain, which checks them all.
async function mine({blocks, on}) {
  let tip = on == null ? node.chain.tip : await node.chain.getEntry(on);
  for (let i = 0; i < blocks; i++) {
    const block = await solve(tip);
    tip = await node.chain.add(block);
    if (!tip)
      throw new Error('bcoin took its own block for an orphan');
  }
  const {height, hash} = node.chain.tip;
  return {height, hash: display(hash)};
}

// A block on `tip` made by bcoin's miner. Payouts go round: pay-to-ML-DSA to the lab's key, then each witness version from 4
// to 16 with programs of 2 to 40 bytes.
async function solve(tip) {
  const height = tip.height + 1;
  const turn = height % 14;
  const version = 3 + turn;
  const program = turn === 0
    ? Buffer.from(settings.program, 'hex')
    : Buffer.alloc(2 + height % 39, height & 0xff);
  const address = new Address({type: Address.types.WITNESS, version, hash: program});
  return node.miner.mineBlock(tip, address);
}

// What bcoin says of a block on its tip, which is the tip afterwards if it is accepted.
async function add({raw}) {
  let block;
  try {
    block = Block.fromRaw(raw, 'hex');
  } catch (error) {
    return {accepted: false, reason: `unreadable: ${error.message}`};
  }
  try {
    await node.chain.add(block);
  } catch (error) {
    if (error.type !== 'VerifyError')
      throw error;
    return {accepted: false, reason: error.reason};
  }
  const accepted = node.chain.tip.hash === block.hash('hex');
  return {accepted, reason: accepted ? '' : 'not on the best chain'};
}

// The same, but an accepted block is taken off again.
async function judge({raw}) {
  const before = node.chain.tip.hash;
  const verdict = await add({raw});
  if (verdict.accepted)
    await node.chain.reset(before);
  return verdict;
}

// The main chain from height `from` on, with bcoin's own count of the work.
async function chain({from}) {
  const blocks = [];
  for (let height = from; height <= node.chain.height; height++) {
    const entry = await node.chain.getEntry(height);
    const raw = await node.chain.getRawBlock(entry.hash);
    blocks.push({
      height,
      hash: display(entry.hash),
      raw: raw.toString('hex'),
      work: entry.chainwork.toString(16)
    });
  }
  return {blocks};
}

// From now on serves this body for the block at `height`: what a hostile peer would do.
async function corrupt({height, raw}) {
  const entry = await node.chain.getEntry(height);
  const honest = node.chain.getRawBlock.bind(node.chain);
  node.chain.getRawBlock = async hash =>
    hash === entry.hash ? Buffer.from(raw, 'hex') : honest(hash);
  return {};
}

// As block explorers show hashes.
function display(hash) {
  return Buffer.from(hash, 'hex').reverse().toString('hex');
}

function say(object) {
  process.stdout.write(`${JSON.stringify(object)}\n`);
}
