// Milesight EM300 series (TH, SLD, ZLD, DI): temperature, humidity, leakage and pulses.
// Written from the EM300 Series User Guide, sections 5.1 to 5.3: items of channel, type and little-endian data.
const items = {
  '01 75': {size: 1, read: (b) => ({battery: b.u8()})},
  '03 67': {size: 2, read: (b) => ({temperature: b.i16() / 10})},
  '04 68': {size: 1, read: (b) => ({humidity: b.u8() / 2})},
  '05 00': {size: 1, read: (b) => ({leak: b.u8() === 1})},
  '05 c8': {size: 4, read: (b) => ({pulses: b.u32()})},
  'ff 01': {size: 1, read: (b) => ({version: {protocol: b.u8()}})},
  'ff 09': {size: 2, read: (b) => ({version: {hardware: b.version()}})},
  'ff 0a': {size: 2, read: (b) => ({version: {software: b.version()}})},
  'ff 0b': {size: 1, read: () => ({powered_on: true})},
  'ff 0f': {size: 1, read: (b) => ({lorawan_class: 'ABC'[b.u8()]})},
  'ff 16': {size: 8, read: (b) => ({serial: b.hex()})},
};

class Reader {
  constructor(bytes) { this.bytes = bytes; }
  u8() { return this.bytes[0]; }
  i16() { return ((this.bytes[1] << 8 | this.bytes[0]) << 16) >> 16; }
  u32() { return this.bytes.reduceRight((sum, byte) => sum * 256 + byte, 0); }
  hex() { return this.bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(''); }
  // 01 40 is V1.4, 01 14 is V1.14.
  version() { return this.bytes[0] + '.' + this.bytes[1].toString(16).replace(/0$/, (zero) => this.bytes[1] ? '' : zero); }
}

function decodeUplink(input) {
  if (input.fPort !== 85) return {errors: ['FPort ' + input.fPort + ' is not one of this device (85).']};
  const data = {}, warnings = [];
  for (let at = 0; at < input.bytes.length;) {
    const key = new Reader(input.bytes.slice(at, at + 2)).hex().replace(/(..)(..)/, '$1 $2');
    const item = items[key];
    if (!item) {
      warnings.push('The item ' + key + ' is not known; what follows is not read.');
      break;
    }
    const bytes = input.bytes.slice(at + 2, at + 2 + item.size);
    if (bytes.length < item.size) return {errors: ['The item ' + key + ' is cut off.']};
    const found = item.read(new Reader(bytes));
    for (const name in found) {
      const old = data[name];
      data[name] = typeof old === 'object' ? Object.assign(old, found[name]) : found[name];
    }
    at += 2 + item.size;
  }
  return warnings.length ? {data, warnings} : {data};
}

// The reporting interval: ff 03 and the seconds in two bytes.
function encodeDownlink(input) {
  const seconds = input.data.reporting_interval;
  if (!Number.isInteger(seconds) || seconds < 60 || seconds > 64800) {
    return {errors: ['reporting_interval is 60 to 64800 whole seconds.']};
  }
  return {bytes: [0xff, 0x03, seconds & 0xff, seconds >> 8], fPort: 85};
}

function decodeDownlink(input) {
  const [channel, type, low, high] = input.bytes;
  if (channel !== 0xff || type !== 0x03 || input.bytes.length !== 4) return {errors: ['This is not a known command.']};
  return {data: {reporting_interval: low + high * 256}};
}
