// Makes what browsers load: the modules and styles of static/ with the packages they use, in dist/, each file named by
// its content. dist/manifest.json says which file is which (hub/web/assets.py reads it).

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";
import * as sass from "sass";

const HERE = dirname(fileURLToPath(import.meta.url));
const STATIC = join(HERE, "static");
const PACKAGES = join(HERE, "node_modules");
const DIST = join(HERE, "dist");
const FRESH = `${DIST}.new`;
const OLD = `${DIST}.old`;

// What is loaded by name: one module for the desk, one that a worker runs (absent until there is one), the styles.
const ENTRIES = ["desk.js", "e2e.js", "chartline.scss"].filter((name) => existsSync(join(STATIC, name)));

const ICONS = [
  ...["account_circle", "calendar_today", "check_circle", "close", "help", "history", "info", "language", "launch"],
  ...["lock", "logout", "people", "person", "phone", "priority_high", "search", "send", "shield", "support_agent"],
  ...["timer", "verified_user", "warning"],
].map((name) => join(PACKAGES, "@uswds/uswds/dist/img/usa-icons", `${name}.svg`));

const styles = {
  name: "sass",
  setup(build) {
    build.onLoad({ filter: /\.scss$/ }, ({ path }) => {
      const { css } = sass.compile(path, {
        loadPaths: [join(PACKAGES, "@uswds/uswds/packages")],
        quietDeps: true,
        logger: sass.Logger.silent,
      });
      return { contents: css.replaceAll('url("")', "none"), loader: "css", resolveDir: STATIC };
    });
  },
};

function kept(file, text) {
  const [stem, kind] = file.split(".");
  const name = `${stem}-${createHash("sha256").update(text).digest("hex").slice(0, 8).toUpperCase()}.${kind}`;
  writeFileSync(join(FRESH, name), text);
  return name;
}

function sprite() {
  const own = readdirSync(join(STATIC, "icons")).map((name) => join(STATIC, "icons", name));
  const symbols = [...ICONS, ...own].map((path) => {
    const drawn = readFileSync(path, "utf8").replace(/^[\s\S]*?<svg[^>]*>/, "").replace(/<\/svg>\s*$/, "");
    return `<symbol id="${basename(path, ".svg")}" viewBox="0 0 24 24">${drawn}</symbol>`;
  });
  return kept("icons.svg", `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join("")}</svg>\n`);
}

// The packages whose work is in the files, each with its licence as it came.
function licences(inputs) {
  const names = new Set(inputs.map((path) => path.match(/.*node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]));
  const parts = [...names].filter(Boolean).sort().map((name) => {
    const root = join(PACKAGES, name);
    const file = readdirSync(root).find((each) => /^licen[cs]e/i.test(each));
    const { version, license } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const text = file ? readFileSync(join(root, file), "utf8") : `Licence: ${license}`;
    return `${name} ${version}\n${"-".repeat(72)}\n${text.trim()}\n`;
  });
  writeFileSync(join(FRESH, "licences.txt"), parts.join("\n\n"));
  return "licences.txt";
}

for (const left of [FRESH, OLD]) rmSync(left, { recursive: true, force: true });
mkdirSync(FRESH);
const { metafile } = await esbuild.build({
  entryPoints: ENTRIES.map((name) => join(STATIC, name)),
  outdir: FRESH,
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  absWorkingDir: HERE,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome115", "firefox115", "safari16.4"],
  define: { global: "globalThis" },
  loader: { ".woff2": "file", ".svg": "file" },
  legalComments: "none",
  metafile: true,
  plugins: [styles],
  logLevel: "warning",
});
const manifest = {
  "icons.svg": sprite(),
  "mark.svg": kept("mark.svg", readFileSync(join(STATIC, "mark.svg"), "utf8")),
  // The design system comes in by the style sheets, which the bundler does not see.
  "licences.txt": licences([...Object.keys(metafile.inputs), "node_modules/@uswds/uswds/"]),
};
for (const [path, output] of Object.entries(metafile.outputs)) {
  if (output.entryPoint) manifest[basename(output.entryPoint).replace(/\.scss$/, ".css")] = basename(path);
}
writeFileSync(join(FRESH, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
if (existsSync(DIST)) renameSync(DIST, OLD);
renameSync(FRESH, DIST);
rmSync(OLD, { recursive: true, force: true });
