// Masks as PNG files of 8-bit grey, written and read without a detour over colours.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
/** Rows handed on at a time, so that the page can answer in between. */
const ROWS = 256;

const CRC = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/**
 * A chunk: length, name, data, checksum.
 * @param {string} name
 * @param {Uint8Array} data
 */
function chunk(name, data) {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i += 1) bytes[4 + i] = name.charCodeAt(i);
  bytes.set(data, 8);
  let crc = 0xffffffff;
  for (let at = 4; at < data.length + 8; at += 1) crc = CRC[(crc ^ bytes[at]) & 255] ^ (crc >>> 8);
  view.setUint32(data.length + 8, ~crc);
  return bytes;
}

/**
 * Write a picture of one byte a pixel.
 * @param {Uint8Array} pixels
 * @param {number} width
 * @param {number} height
 * @returns {Promise<Blob>}
 */
export async function encodeGrey(pixels, width, height) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8; // bits; colour type 0 is grey, the rest are the format's defaults
  const deflate = new CompressionStream("deflate");
  const compressed = new Response(deflate.readable).arrayBuffer();
  const writer = deflate.writable.getWriter();
  for (let top = 0; top < height; top += ROWS) {
    const rows = Math.min(ROWS, height - top);
    const lines = new Uint8Array(rows * (width + 1)); // each row begins with its filter, none
    for (let y = 0; y < rows; y += 1)
      lines.set(pixels.subarray((top + y) * width, (top + y + 1) * width), y * (width + 1) + 1);
    await writer.ready;
    writer.write(lines).catch(() => {}); // told by the reading side
  }
  await writer.close();
  return new Blob(
    [
      new Uint8Array(SIGNATURE),
      chunk("IHDR", header),
      chunk("IDAT", new Uint8Array(await compressed)),
      chunk("IEND", new Uint8Array(0)),
    ],
    { type: "image/png" },
  );
}

/**
 * Read a grey picture; one of another size is scaled.
 * @param {Blob} file
 * @param {number} width
 * @param {number} height
 * @returns {Promise<Uint8Array>}
 */
export async function decodeGrey(file, width, height) {
  const picture = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const pixels = new Uint8Array(width * height);
  const canvas = new OffscreenCanvas(width, Math.min(ROWS, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser has no canvas to read pictures with");
  const scaled = picture.width !== width || picture.height !== height;
  for (let top = 0; top < height; top += ROWS) {
    const rows = Math.min(ROWS, height - top);
    context.clearRect(0, 0, width, rows);
    if (scaled) context.drawImage(picture, 0, -top, width, height);
    else context.drawImage(picture, 0, -top);
    const { data } = context.getImageData(0, 0, width, rows);
    for (let at = 0; at < rows * width; at += 1) pixels[top * width + at] = data[at * 4];
  }
  picture.close();
  return pixels;
}
