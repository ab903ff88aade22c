// Run as a program: what transformers.js answers with the graphs of an artifact, as JSON on the standard output.
//   node transformers_js.mjs PACKAGE generate ARTIFACT PROMPT COUNT    the ids of the greedy continuation of a text or of ids
//   node transformers_js.mjs PACKAGE embed ARTIFACT INPUTS.json        embeddings of texts and of pixels
// PACKAGE is the folder of the installed @huggingface/transformers; nothing is fetched.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, what, artifact, ...rest] = process.argv.slice(2);
const entry = createRequire(path.join(folder, "package.json")).resolve("@huggingface/transformers");
const js = await import(pathToFileURL(entry).href);

js.env.allowRemoteModels = false;
js.env.localModelPath = path.dirname(artifact);
const name = path.basename(artifact);
const options = { dtype: "fp32", device: "cpu", local_files_only: true };
const tokenizer = await js.AutoTokenizer.from_pretrained(name, options);

function asInputs(ids) {
  const tensor = (values) => new js.Tensor("int64", BigInt64Array.from(values.map(BigInt)), [1, ids.length]);
  return { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)) };
}

async function generate(text, count) {
  const model = await js.AutoModelForCausalLM.from_pretrained(name, options);
  const inputs = text.startsWith("[") ? asInputs(JSON.parse(text)) : tokenizer(text);
  const ids = await model.generate({ ...inputs, max_new_tokens: Number(count), do_sample: false });
  return ids.tolist()[0].map(Number).slice(inputs.input_ids.dims.at(-1));
}

async function embed(file) {
  const { texts, pixels, shape } = JSON.parse(readFileSync(file, "utf8"));
  const reader = await js.CLIPTextModelWithProjection.from_pretrained(name, options);
  const seer = await js.CLIPVisionModelWithProjection.from_pretrained(name, options);
  const { text_embeds } = await reader(tokenizer(texts, { padding: true, truncation: true }));
  const { image_embeds } = await seer({ pixel_values: new js.Tensor("float32", Float32Array.from(pixels), shape) });
  return { texts: text_embeds.tolist(), images: image_embeds.tolist() };
}

console.log(JSON.stringify(await { generate, embed }[what](...rest)));
