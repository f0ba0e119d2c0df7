// A verifier of exported bundles in another language, written from docs/ledger.md alone.
//
//   node verify_bundle.mjs [--public-key KEY] BUNDLE...   one line a bundle: VERIFIED or NOT VERIFIED
//   node verify_bundle.mjs --digest FILE                  digests of the results that FILE describes
//   node verify_bundle.mjs --ids-root FILE                the root that stands for many ids
//
// It needs node, and nothing else. The comments name the sections of the page.

import { createHash, createPublicKey, verify as edVerify } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

class Refused extends Error {}

function refuse(why) {
  throw new Refused(why);
}

function sha256(...parts) {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

// --- JSON: strict, no member twice, integers apart from other numbers ------------------------------

const MAX_DEPTH = 1000;
const SPACE = new Set([" ", "\t", "\n", "\r"]);
const ESCAPED = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

/** A number that is not written as an integer of at most 2^53 - 1: what reads bundles needs none. */
class OtherNumber {
  constructor(text) {
    this.text = text;
  }
}

function parseJson(text, what) {
  let at = 0;
  const wrong = () => refuse(`${what} is not JSON`);
  const skip = () => {
    while (at < text.length && SPACE.has(text[at])) at += 1;
  };
  const string = () => {
    at += 1;
    let made = "";
    for (;;) {
      const start = at;
      while (at < text.length && text[at] !== '"' && text[at] !== "\\" && text[at] >= " ") at += 1;
      made += text.slice(start, at);
      if (at >= text.length || text[at] < " ") wrong();
      if (text[at] === '"') break;
      const mark = text[at + 1];
      if (mark === "u") {
        const digits = text.slice(at + 2, at + 6);
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) wrong();
        made += String.fromCharCode(parseInt(digits, 16));
        at += 6;
      } else {
        if (mark === undefined || !Object.hasOwn(ESCAPED, mark)) wrong();
        made += ESCAPED[mark];
        at += 2;
      }
    }
    at += 1;
    if (/\p{Surrogate}/u.test(made)) refuse(`${what} has half of a character`);
    return made;
  };
  const number = () => {
    const [found] = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/.exec(text.slice(at, at + 5000)) ?? wrong();
    at += found.length;
    const value = Number(found);
    return /^-?[0-9]+$/.test(found) && found !== "-0" && Number.isSafeInteger(value) ? value : new OtherNumber(found);
  };
  const word = (spelt, value) => {
    if (!text.startsWith(spelt, at)) wrong();
    at += spelt.length;
    return value;
  };
  const value = (depth) => {
    if (depth > MAX_DEPTH) refuse(`${what} is nested too deep`);
    skip();
    switch (text[at]) {
      case "{": {
        const made = new Map();
        at += 1;
        skip();
        if (text[at] === "}") {
          at += 1;
          return made;
        }
        for (;;) {
          skip();
          if (text[at] !== '"') wrong();
          const name = string();
          if (made.has(name)) refuse(`${what} has a member twice`);
          skip();
          if (text[at] !== ":") wrong();
          at += 1;
          made.set(name, value(depth + 1));
          skip();
          at += 1;
          if (text[at - 1] === "}") return made;
          if (text[at - 1] !== ",") wrong();
        }
      }
      case "[": {
        const made = [];
        at += 1;
        skip();
        if (text[at] === "]") {
          at += 1;
          return made;
        }
        for (;;) {
          made.push(value(depth + 1));
          skip();
          at += 1;
          if (text[at - 1] === "]") return made;
          if (text[at - 1] !== ",") wrong();
        }
      }
      case '"':
        return string();
      case "t":
        return word("true", true);
      case "f":
        return word("false", false);
      case "n":
        return word("null", null);
      default:
        return number();
    }
  };
  const made = value(0);
  skip();
  if (at !== text.length) wrong();
  return made;
}

function parseObject(text, what) {
  const made = parseJson(text, what);
  return made instanceof Map ? made : refuse(`${what} is not an object`);
}

function decodeText(bytes, what) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse(`${what} is not UTF-8`);
  }
}

/** Base64 with padding, of which the unused bits are zero: written again it is the same text. */
function decodeBase64(text, length, what) {
  if (typeof text !== "string") refuse(`${what} is not base64`);
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) refuse(`${what} is not base64`);
  if (bytes.length !== length) refuse(`${what} has ${bytes.length} bytes, not ${length}`);
  return bytes;
}

function hashList(text, what) {
  const given = typeof text === "string" ? parseJson(text, what) : text;
  if (!Array.isArray(given)) refuse(`${what} is not a list`);
  return given.map((each) => decodeBase64(each, 32, `a hash of ${what}`));
}

function isCount(value) {
  return typeof value === "number" && value >= 0;
}

// --- "Names" ---------------------------------------------------------------------------------------

/** The tenant of an origin, null for the shared scope. */
function tenantOf(origin) {
  const found = typeof origin === "string" ? /^affidavit\/[0-9a-f]{32}\/((?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+)$/.exec(origin) : null;
  if (!found) refuse("the manifest's origin is none");
  if (found[1] === "_shared") return null;
  const bytes = [];
  for (const part of found[1].match(/%..|./g)) {
    const byte = part.length === 3 ? parseInt(part.slice(1), 16) : part.charCodeAt(0);
    if (part.length === 3 && /[A-Za-z0-9._~-]/.test(String.fromCharCode(byte))) {
      refuse("the manifest's origin writes a byte that is written as it is");
    }
    bytes.push(byte);
  }
  return decodeText(Buffer.from(bytes), "the manifest's origin");
}

function readPublicKey(text) {
  const found = typeof text === "string" ? /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/u.exec(text) : null;
  if (!found) refuse("a public key is not written as one");
  const [, origin, written, base64] = found;
  const bytes = decodeBase64(base64, 33, "a public key");
  if (bytes[0] !== 1) refuse("a public key is not of Ed25519");
  const raw = bytes.subarray(1);
  const keyHash = sha256(origin, Buffer.from([0x0a, 0x01]), raw).subarray(0, 4);
  if (keyHash.toString("hex") !== written) refuse("a public key's hash is not of that key");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") }, format: "jwk" });
  return {
    text,
    origin,
    keyHash,
    keyId: sha256(raw).toString("hex").slice(0, 16),
    signed: (bytes_, signature) => edVerify(null, bytes_, key, signature),
  };
}

// --- "The tree" ------------------------------------------------------------------------------------

function leafHash(body, signature) {
  return sha256(Buffer.from([0]), body, signature);
}

function nodeHash(left, right) {
  return sha256(Buffer.from([1]), left, right);
}

function splitOf(count) {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}

/** RFC 9162 section 2.1.1: the root over leaves low to high. */
function treeRoot(leaves, low = 0, high = leaves.length) {
  if (high === low) return sha256();
  if (high - low === 1) return leaves[low];
  const middle = low + splitOf(high - low);
  return nodeHash(treeRoot(leaves, low, middle), treeRoot(leaves, middle, high));
}

/** RFC 9162 section 2.1.3.2: the root that an inclusion proof gives. */
function rootOfInclusion(leaf, index, size, proof) {
  if (!(index < size)) refuse("an entry is not in the tree");
  let fn = BigInt(index);
  let sn = BigInt(size - 1);
  let root = leaf;
  for (const hash of proof) {
    if (sn === 0n) refuse("an inclusion proof is too long");
    if (fn & 1n || fn === sn) {
      root = nodeHash(hash, root);
      while (!(fn & 1n) && fn !== 0n) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      root = nodeHash(root, hash);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  if (sn !== 0n) refuse("an inclusion proof is too short");
  return root;
}

/** "Bundles": the root that a range proof gives. */
function rootOfRange(leaves, first, size, proof) {
  const end = first + leaves.length;
  if (!(first >= 0 && first < end && end <= size)) refuse("the entries are not in the tree");
  let used = 0;
  const root = (low, high) => {
    if (high <= first || end <= low) {
      return used < proof.length ? proof[used++] : refuse("proof.json misses a hash");
    }
    if (high - low === 1) return leaves[low - first];
    const middle = low + splitOf(high - low);
    const left = root(low, middle);
    return nodeHash(left, root(middle, high));
  };
  const found = root(0, size);
  if (used !== proof.length) refuse("proof.json has a hash too many");
  return found;
}

// --- "Heads and checkpoints" -----------------------------------------------------------------------

const DECIMAL = /^(?:0|[1-9][0-9]*)$/;

function decimal(text, what) {
  const value = Number(text);
  if (!DECIMAL.test(text) || !Number.isSafeInteger(value)) refuse(`${what} is not a count`);
  return value;
}

/** The head that a signed note states, after its signature was checked. */
function readNote(bytes, key) {
  const note = decodeText(bytes, "checkpoint.note");
  const cut = note.lastIndexOf("\n\n");
  if (cut < 0) refuse("checkpoint.note is not a signed note");
  const text = note.slice(0, cut + 1);
  const signatures = note.slice(cut + 2);
  if (!signatures.endsWith("\n")) refuse("checkpoint.note is cut short");
  let isSigned = false;
  for (const line of signatures.slice(0, -1).split("\n")) {
    const [, name, base64] = /^— ([^\s+]+) ([A-Za-z0-9+/=]+)$/u.exec(line) ?? refuse("checkpoint.note has a line that is no signature");
    const signature = Buffer.from(base64, "base64");
    if (signature.toString("base64") !== base64) refuse("a signature of checkpoint.note is not base64");
    if (name !== key.origin || !signature.subarray(0, 4).equals(key.keyHash)) continue; // a stranger's
    if (!key.signed(Buffer.from(text), signature.subarray(4))) refuse("the signature of checkpoint.note is wrong");
    isSigned = true;
  }
  if (!isSigned) refuse("checkpoint.note is not signed by the newest key");
  const lines = text.slice(0, -1).split("\n");
  if (lines.length < 3) refuse("checkpoint.note is no checkpoint");
  const head = {
    origin: lines[0],
    size: decimal(lines[1], "the size in checkpoint.note"),
    root: decodeBase64(lines[2], 32, "the root in checkpoint.note"),
    log: null,
    data: null,
  };
  const more = lines.slice(3);
  if (more[0] === "kept") more.shift();
  if (more.length && more[0].startsWith("log ")) {
    const parts = more.shift().split(" ");
    if (parts.length !== 4) refuse("the line of the log in checkpoint.note is wrong");
    head.log = {
      before: decimal(parts[1], "the log's start"),
      rows: decimal(parts[2], "the log's length"),
      digest: decodeBase64(parts[3], 32, "the log's digest"),
    };
  }
  if (more.length && more[0].startsWith("data ")) {
    head.data = decodeBase64(more.shift().slice("data ".length), 32, "the data's digest");
  }
  if (more.length) refuse("checkpoint.note has a line that no head has");
  return head;
}

// --- "Entries", "Commitments" ----------------------------------------------------------------------

/** What a line has, before anything in it is believed. */
function readEntry(line, what, more = []) {
  onlyMembers(line, ["body", "signature", "opened", ...more], what);
  if (typeof line.get("body") !== "string") refuse(`${what} has no body`);
  const body = Buffer.from(line.get("body"));
  const members = parseObject(line.get("body"), `the body of ${what}`);
  const signed = line.get("signature") ?? null;
  const signature = signed === null ? Buffer.alloc(0) : decodeBase64(signed, 64, `the signature of ${what}`);
  checkOpened(line.get("opened") ?? new Map(), members, what);
  return { what, body, members, signature, leaf: leafHash(body, signature) };
}

/** "Bundles": an object has no member that the page does not name. */
function onlyMembers(object, names, what) {
  for (const name of object.keys()) if (!names.includes(name)) refuse(`${what} has a member that none has`);
}

function commitment(salt, member, value) {
  return `c:${sha256(salt, Buffer.from([2]), member, Buffer.from([0]), value).toString("hex")}`;
}

function checkOpened(opened, members, what) {
  if (!(opened instanceof Map)) refuse(`${what}: opened is not an object`);
  for (const [member, pair] of opened) {
    if (members.get("v") !== 2) refuse(`${what}: a body of the first version is opened`);
    if (!Array.isArray(pair) || pair.length !== 2) refuse(`${what}: ${member} is not opened by a pair`);
    const [salt, value] = pair;
    if (typeof salt !== "string" || !/^[0-9a-f]{32}$/.test(salt)) refuse(`${what}: the salt of ${member} is none`);
    if (typeof value !== "string") refuse(`${what}: the value of ${member} is not a text`);
    if (members.get(member) !== commitment(Buffer.from(salt, "hex"), member, value)) {
      refuse(`${what}: what ${member} is opened to is not what its commitment is of`);
    }
  }
}

function checkSigned(entry, key) {
  if (entry.members.get("key_id") !== key.keyId) refuse(`${entry.what} does not name the key in use`);
  if (entry.signature.length !== 64 || !key.signed(entry.body, entry.signature)) refuse(`${entry.what} is not signed by the key in use`);
}

// --- "Bundles" -------------------------------------------------------------------------------------

function readLines(folder, name) {
  const text = decodeText(readFileSync(join(folder, name)), name);
  if (text === "") return [];
  if (!text.endsWith("\n")) refuse(`${name} does not end with a newline`);
  return text
    .slice(0, -1)
    .split("\n")
    .map((line, at) => parseObject(line, `line ${at + 1} of ${name}`));
}

/** "Keys": each key signs the next one, the first one itself. */
function readKeys(folder, origin, tenant) {
  const keys = [];
  for (const [at, line] of readLines(folder, "keys.jsonl").entries()) {
    const entry = readEntry(line, `line ${at + 1} of keys.jsonl`, ["seq", "proof"]);
    const seq = line.get("seq");
    const { members } = entry;
    if (!isCount(seq) || members.get("seq") !== seq) refuse(`${entry.what} says another number than its body`);
    if (members.get("kind") !== "key" || members.get("tenant") !== tenant) refuse(`${entry.what} is no key of the ledger`);
    if (members.get("generation") !== at) refuse(`${entry.what} is of another generation`);
    const key = readPublicKey(members.get("public_key"));
    if (key.origin !== origin) refuse(`${entry.what} is a key of another ledger`);
    if (at === 0 ? seq !== 0 : seq <= keys[at - 1].seq) refuse(`${entry.what} is out of order`);
    checkSigned(entry, at === 0 ? key : keys[at - 1].key);
    keys.push({ seq, key, entry, proof: hashList(line.get("proof"), `the proof in ${entry.what}`) });
  }
  if (keys.length === 0) refuse("keys.jsonl has no key");
  return keys;
}

function verifyBundle(folder, publicKey) {
  const manifest = parseObject(decodeText(readFileSync(join(folder, "manifest.json")), "manifest.json"), "manifest.json");
  onlyMembers(manifest, ["format", "origin", "from_seq", "to_seq"], "manifest.json");
  const format = manifest.get("format");
  if (!["affidavit-bundle/1", "affidavit-bundle/2", "affidavit-bundle/3"].includes(format)) refuse("manifest.json has another format");
  const origin = manifest.get("origin");
  const tenant = tenantOf(origin);
  const [first, last] = [manifest.get("from_seq"), manifest.get("to_seq")];
  if (!isCount(first) || !isCount(last) || last < first) refuse("manifest.json names no entries");

  const keys = readKeys(folder, origin, tenant);
  if (publicKey !== null) {
    const pinned = readPublicKey(publicKey.trim());
    if (!keys.some(({ key }) => key.text === pinned.text)) refuse("the public key is none of this ledger's");
  }

  const head = readNote(readFileSync(join(folder, "checkpoint.note")), keys.at(-1).key);
  if (head.origin !== origin) refuse("checkpoint.note is of another ledger");
  const shown = join(folder, "public_key.txt");
  if (existsSync(shown) && decodeText(readFileSync(shown), "public_key.txt") !== `${keys.at(-1).key.text}\n`) {
    refuse("public_key.txt has another key than the one that signed");
  }

  for (const { seq, entry, proof } of keys) {
    if (!rootOfInclusion(entry.leaf, seq, head.size, proof).equals(head.root)) refuse(`${entry.what} is not in the tree`);
  }

  const leaves = [];
  const gone = new Set();
  for (const [at, line] of readLines(folder, "entries.jsonl").entries()) {
    const seq = first + at;
    if (format === "affidavit-bundle/3" && line.has("leaf")) {
      onlyMembers(line, ["leaf"], `the line of entry ${seq}`);
      leaves.push(decodeBase64(line.get("leaf"), 32, `the leaf of entry ${seq}`));
      gone.add(seq);
      continue;
    }
    const entry = readEntry(line, `entry ${seq}`);
    const { members, signature } = entry;
    if (members.get("seq") !== seq) refuse(`line ${at + 1} of entries.jsonl is not entry ${seq}`);
    if (members.get("tenant") !== tenant) refuse(`entry ${seq} is of another tenant`);
    const own = keys.find((key) => key.seq === seq);
    if ((members.get("kind") === "key") !== (own !== undefined)) refuse(`entry ${seq} is not what keys.jsonl says`);
    if (own !== undefined) {
      if (!own.entry.leaf.equals(entry.leaf)) refuse(`entry ${seq} is another key than in keys.jsonl`);
    } else if ((members.get("key_id") ?? null) === null) {
      if (signature.length) refuse(`entry ${seq} names no key and has a signature`);
    } else {
      checkSigned(entry, keys.findLast((key) => key.seq < seq)?.key ?? refuse(`entry ${seq} is before all keys`));
    }
    leaves.push(entry.leaf);
    if (members.get("kind") === "retention" || members.get("keys_too") === true) {
      for (const [low, high] of members.get("ranges") ?? []) {
        for (const each of gone) if (low <= each && each <= high && each < seq) gone.delete(each);
      }
    }
  }
  for (const seq of gone) refuse(`entry ${seq} is gone, and no later entry says so`);
  if (leaves.length !== last - first + 1) refuse(`there are ${leaves.length} entries, not ${last - first + 1}`);

  const proof = hashList(decodeText(readFileSync(join(folder, "proof.json")), "proof.json"), "proof.json");
  if (!rootOfRange(leaves, first, head.size, proof).equals(head.root)) refuse("the entries are not those that the note was signed for");
  return `${leaves.length} entries, ${first} to ${last}, of ${origin}, in a tree of ${head.size}`;
}

// --- "The digest of a result" ----------------------------------------------------------------------
//
// A result is described by JSON: {"salt": HEX, "columns": [{"name", "type", "values"}, ...]}. A value
// is null, true or false, a number or its text ("NaN", "-0", "9223372036854775807"), a decimal's text,
// a text, the hexadecimal of bytes, a list's items, a map's [key, item] pairs, or a struct's values.

const CHUNK = 65536;

function littleEndian(value, width) {
  const bytes = Buffer.alloc(width);
  let rest = BigInt.asUintN(width * 8, BigInt(value));
  for (let at = 0; at < width; at += 1) {
    bytes[at] = Number(rest & 255n);
    rest >>= 8n;
  }
  return bytes;
}

function bits(flags) {
  const bytes = Buffer.alloc(Math.ceil(flags.length / 8));
  flags.forEach((flag, at) => {
    if (flag) bytes[at >> 3] |= 1 << (at & 7);
  });
  return bytes;
}

function halfBits(value) {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Infinity) return sign | 0x7c00;
  const toEven = (exact) => {
    const low = Math.floor(exact);
    const rest = exact - low;
    return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
  };
  if (size < 2 ** -14) return sign | toEven(size * 2 ** 24);
  let exponent = Math.floor(Math.log2(size));
  if (2 ** exponent > size) exponent -= 1;
  if (2 ** (exponent + 1) <= size) exponent += 1;
  return sign | Math.min(((exponent + 14) << 10) + toEven((size / 2 ** exponent) * 1024), 0x7c00);
}

function floatBytes(value, width) {
  const bytes = Buffer.alloc(width);
  const number = Number(value);
  if (width === 2) bytes.writeUInt16LE(Number.isNaN(number) ? 0x7e00 : halfBits(number));
  if (width === 4) Number.isNaN(number) ? bytes.writeUInt32LE(0x7fc00000) : bytes.writeFloatLE(number);
  if (width === 8) Number.isNaN(number) ? bytes.writeBigUInt64LE(0x7ff8000000000000n) : bytes.writeDoubleLE(number);
  return bytes;
}

function unscaled(text, scale) {
  const [, sign, whole, part = ""] = /^(-?)([0-9]+)(?:\.([0-9]+))?$/.exec(text) ?? refuse(`${text} is no decimal`);
  if (part.length > scale) refuse(`${text} has more than ${scale} digits after the point`);
  const digits = BigInt(whole + part.padEnd(scale, "0"));
  return sign ? -digits : digits;
}

const WIDTHS = { date32: 4, date64: 8, "time32": 4, "time64": 8, timestamp: 8, duration: 8 };

/** How a value of a type of fixed width is written, and its width. */
function fixed(type) {
  const found = /^([a-z_]+?)([0-9]*)(?:\[(.*)\]|\((.*)\))?$/s.exec(type) ?? refuse(`${type} is no type`);
  const [, name, size, inBrackets, inParentheses] = found;
  if ((name === "int" || name === "uint") && size) return [Number(size) / 8, (value) => littleEndian(value, Number(size) / 8)];
  if (name === "float") return [Number(size) / 8, (value) => floatBytes(value, Number(size) / 8)];
  if (name === "decimal") {
    const scale = Number(inParentheses.split(",")[1]);
    return [Number(size) / 8, (value) => littleEndian(unscaled(value, scale), Number(size) / 8)];
  }
  if (Object.hasOwn(WIDTHS, name + size)) {
    return [WIDTHS[name + size], (value) => littleEndian(value, WIDTHS[name + size])];
  }
  if (type === "interval[month_day_nano]") {
    return [16, ([months, days, nanos]) => Buffer.concat([littleEndian(months, 4), littleEndian(days, 4), littleEndian(nanos, 8)])];
  }
  if (name === "fixed_size_binary") return [Number(inBrackets), (value) => Buffer.from(value, "hex")];
  return refuse(`${type} is no type`);
}

/** "The bytes of a column". */
function columnBytes(type, values) {
  const made = [bits(values.map((value) => value !== null))];
  const lengths = (sizes) => made.push(...sizes.map((size) => littleEndian(size, 4)));
  const present = values.filter((value) => value !== null);
  if (Array.isArray(type)) {
    const [name, ...inner] = type;
    if (name === "struct") {
      inner[0].forEach(([, field], at) => made.push(columnBytes(field, values.map((value) => value?.[at] ?? null))));
    } else {
      lengths(values.map((value) => value?.length ?? 0));
      const items = present.flat(1);
      if (name === "list") {
        made.push(columnBytes(inner[0], items));
      } else if (name === "map") {
        made.push(columnBytes(inner[0], items.map(([key]) => key)), columnBytes(inner[1], items.map(([, item]) => item)));
      } else {
        refuse(`${name} is no type`);
      }
    }
  } else if (type === "bool") {
    made.push(bits(values.map((value) => value === true)));
  } else if (type === "string" || type === "binary") {
    const encoded = values.map((value) => Buffer.from(value ?? "", type === "string" ? "utf-8" : "hex"));
    lengths(encoded.map((each) => each.length));
    made.push(...encoded);
  } else if (type !== "null") {
    const [width, write] = fixed(type);
    made.push(...values.map((value) => (value === null ? Buffer.alloc(width) : write(value))));
  }
  return Buffer.concat(made);
}

function schemaOf(columns) {
  return JSON.stringify(columns.map(({ name, type }) => [name, type])); // lists of texts: canonical
}

function digestOf({ salt = "", columns }) {
  const rows = columns[0]?.values.length ?? 0;
  const parts = [Buffer.from(salt, "hex"), "affidavit rows 1\n", schemaOf(columns), "\n"];
  for (let start = 0; start < rows; start += CHUNK) {
    for (const { type, values } of columns) parts.push(sha256(columnBytes(type, values.slice(start, start + CHUNK))));
  }
  return sha256(...parts, littleEndian(rows, 8)).toString("hex");
}

/** "The digest of rows in no order". */
function setDigestOf({ columns }) {
  const rows = columns[0]?.values.length ?? 0;
  const hashes = [];
  for (let row = 0; row < rows; row += 1) {
    hashes.push(sha256(...columns.map(({ type, values }) => columnBytes(type, [values[row]]))));
  }
  hashes.sort(Buffer.compare);
  return sha256("affidavit rows set 1\n", schemaOf(columns), "\n", ...hashes, littleEndian(rows, 8)).toString("hex");
}

/** "The body of a read": the root that stands for many ids. */
function idsRoot({ salt, ids }) {
  const hashes = ids.map((id) => sha256(Buffer.from(salt, "hex"), id)).sort(Buffer.compare);
  return treeRoot(hashes.map((hash) => leafHash(hash, Buffer.alloc(0)))).toString("hex");
}

// --- the command line ------------------------------------------------------------------------------

function main(given) {
  const [mode, file] = given;
  if (mode === "--digest") {
    for (const result of JSON.parse(readFileSync(file, "utf-8"))) {
      const filled = result.columns.filter(({ values }) => values.length); // no rows, no chunk
      const columns = filled.map(({ type, values }) => columnBytes(type, values).toString("hex"));
      console.log(JSON.stringify({ columns, digest: digestOf(result), rows_set: setDigestOf(result) }));
    }
    return 0;
  }
  if (mode === "--ids-root") {
    console.log(idsRoot(JSON.parse(readFileSync(file, "utf-8"))));
    return 0;
  }
  const publicKey = mode === "--public-key" ? file : null;
  const bundles = mode === "--public-key" ? given.slice(2) : given;
  if (bundles.length === 0) {
    console.error("usage: node verify_bundle.mjs [--public-key KEY] BUNDLE...");
    return 2;
  }
  let code = 0;
  for (const bundle of bundles) {
    try {
      console.log(`VERIFIED: ${verifyBundle(bundle, publicKey)}`);
    } catch (error) {
      if (!(error instanceof Refused) && error.code === undefined) throw error; // a mistake in this program
      console.log(`NOT VERIFIED: ${error.message.replace(/[^\x20-\x7e]/g, "?")}`);
      code = 1;
    }
  }
  return code;
}

process.exitCode = main(process.argv.slice(2));
