// Send messages with a client of others: `node send.mjs CLIENT PORT`, an array of ER7 texts as JSON on standard input.
// Each goes out once the one before is answered. Prints what the client's own parser reads of each answer, as JSON:
// [MSA-1, MSA-2].
import { Client, Message } from "node-hl7-client";
import hl7 from "simple-hl7";

const [name, port] = [process.argv[2], Number(process.argv[3])];

const clients = {
  "node-hl7-client": async (texts) => {
    const answers = [];
    let answered;
    const client = new Client({ host: "127.0.0.1" });
    const connection = client.createConnection({ port }, async (response) => {
      const message = response.getMessage();
      answers.push([message.get("MSA.1").toString(), message.get("MSA.2").toString()]);
      answered();
    });
    for (const text of texts) {
      const done = new Promise((resolve) => { answered = resolve; });
      await connection.sendMessage(new Message({ text }));
      await done;
    }
    await connection.close();
    return answers;
  },

  "simple-hl7": async (texts) => {
    const client = hl7.Server.createTcpClient({ host: "127.0.0.1", port, keepalive: true });
    const parser = new hl7.Parser({ segmentSeperator: "\r" });
    const answers = [];
    for (const text of texts) {
      answers.push(await new Promise((resolve, reject) => {
        client.send(parser.parse(text), (error, answer) => {
          if (error) return reject(error);
          const msa = answer.getSegment("MSA");
          setImmediate(() => resolve([msa.getField(1), msa.getField(2)]));
        });
      }));
    }
    client.close();
    return answers;
  },
};

let input = "";
for await (const part of process.stdin) input += part;
process.stdout.write(JSON.stringify(await clients[name](JSON.parse(input))));
process.exit(0);
