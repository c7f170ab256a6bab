/** A browser, and the window with the fake host served to it as the app would serve it. */

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { CSP } from '../vite.config.js';

const ROOT = fileURLToPath(new URL('../../target/ui-fake/', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/** Every scene by name, as `scenes.ts` has them. */
export const SCENES = [
  'first-start',
  'opened-by-link',
  'no-rooms',
  'empty-room',
  'busy',
  'leftovers',
  'transfers',
  'queue',
  'long-names',
  'hostile',
  'many',
  'errors',
  'server-lost',
  'dropping',
  'broken',
];

/** Serves the built page under the policy of the app, on a port of its own. */
async function serve() {
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url ?? '/', 'http://x').pathname);
    if (path === '/favicon.ico') {
      response.writeHead(204).end();
      return;
    }
    const file = path === '/' ? 'index.html' : path.slice(1);
    try {
      const body = await readFile(join(ROOT, file));
      const type = TYPES[extname(file)] ?? 'application/octet-stream';
      response.writeHead(200, { 'content-type': type, 'content-security-policy': CSP }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', () => done(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return { server, url: `http://127.0.0.1:${port}/` };
}

/** Starts both; `open` gives a page on a scene. */
export async function start() {
  const { server, url } = await serve();
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });

  /**
   * @param {{ scene: string, theme?: string, width?: number, height?: number, still?: boolean }} want
   */
  async function open({ scene, theme = 'light', width = 1280, height = 800, still = true }) {
    const context = await browser.newContext({
      viewport: { width, height },
      reducedMotion: 'reduce',
      permissions: ['clipboard-read', 'clipboard-write'],
      // Axe is put into the page from here; the page's own policy still holds in the header test.
      bypassCSP: false,
    });
    const page = await context.newPage();
    /** What the page complained about: nothing is expected. */
    const complaints = [];
    page.on('console', (m) => {
      if (m.type() === 'error' || m.type() === 'warning') complaints.push(m.text());
    });
    page.on('pageerror', (e) => complaints.push(String(e)));
    page.on('request', (r) => {
      if (!r.url().startsWith(url)) complaints.push(`asked for ${r.url()}`);
    });
    if (process.env.SHOW) page.on('pageerror', (e) => console.log(e.stack));
    await page.goto(`${url}?scene=${scene}&theme=${theme}${still ? '&still' : ''}`);
    await page.locator('main:not([aria-busy])').first().waitFor({ timeout: 10_000 });
    return { page, complaints, close: () => context.close() };
  }

  async function stop() {
    await browser.close();
    await new Promise((done) => server.close(done));
  }

  return { open, stop };
}
