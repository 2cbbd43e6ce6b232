// Reads the PNGs that Chromium makes (8 bits, RGB or RGBA, not interlaced), to see that a screenshot shows something.

import { inflateSync } from "node:zlib";

// Width, height, and how many different colours and which brightness (0 to 255, on average) a PNG has.
export function look(png) {
  const width = png.readUInt32BE(16);
  const height = png.readUInt32BE(20);
  const bytes = { 2: 3, 6: 4 }[png[25]];
  if (!bytes || png[24] !== 8) throw new Error("not such a PNG");
  const parts = [];
  for (let at = 8; at < png.length;) {
    const length = png.readUInt32BE(at);
    if (png.toString("latin1", at + 4, at + 8) === "IDAT") parts.push(png.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const raw = inflateSync(Buffer.concat(parts));
  const line = width * bytes;
  let before = Buffer.alloc(line);
  const colours = new Set();
  let sum = 0;
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (line + 1)];
    const row = Buffer.from(raw.subarray(y * (line + 1) + 1, (y + 1) * (line + 1)));
    for (let x = 0; x < line; x += 1) {
      const left = x >= bytes ? row[x - bytes] : 0;
      const up = before[x];
      const corner = x >= bytes ? before[x - bytes] : 0;
      row[x] = (row[x] + [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter]) & 255;
    }
    for (let x = 0; x < line; x += bytes) {
      colours.add((row[x] << 16) | (row[x + 1] << 8) | row[x + 2]);
      sum += (row[x] + row[x + 1] + row[x + 2]) / 3;
    }
    before = row;
  }
  return { width, height, colours: colours.size, brightness: sum / (width * height) };
}

function paeth(left, up, corner) {
  const estimate = left + up - corner;
  const [l, u, c] = [left, up, corner].map((value) => Math.abs(estimate - value));
  if (l <= u && l <= c) return left;
  return u <= c ? up : corner;
}
