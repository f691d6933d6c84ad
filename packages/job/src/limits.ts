/** Every limit on what users may send, each with its reason. */

/** A job's name becomes part of pod and service names, which Kubernetes limits to 63: 15 stay for our suffixes. */
export const NAME_CHARACTERS_MAX = 48;
/** Labels and annotations are copied to every event and listing; OpenAI's metadata has the same bounds. */
export const METADATA_ENTRIES_MAX = 16;
/** Keys of labels and annotations; OpenAI's bound. */
export const METADATA_KEY_CHARACTERS_MAX = 64;
/** Values of labels and annotations; OpenAI's bound. */
export const METADATA_VALUE_CHARACTERS_MAX = 512;

/** A job document is written by hand; a mebibyte is a thousand times a long one. The CLI and the gRPC door check it before decoding. */
export const DOCUMENT_BYTES_MAX = 1024 * 1024;
/** Documents of one YAML file. */
export const DOCUMENTS_MAX = 10;
/** Aliases in one YAML file: enough for people, too few for an alias bomb. */
export const YAML_ALIASES_MAX = 50;
/** Nesting of a decoded value: the deepest legal spec has 6 levels, a JSON Schema of a tool about 20. */
export const DEPTH_MAX = 32;
/** Keys of one object. */
export const KEYS_MAX = 256;
/** Entries of one list: `targets` of a large model has some hundreds of names. */
export const LIST_ENTRIES_MAX = 4096;
/** Complaints of one document: more do not help anybody. */
export const COMPLAINTS_MAX = 100;

/** Paths: Linux's PATH_MAX. */
export const SOURCE_CHARACTERS_MAX = 4096;
/** Members of one job: every step is a barrier of all ranks, and none so wide was ever tried. */
export const MEMBERS_MAX = 1024;
/** Ranks of one member: no machine has more GPUs. */
export const RANKS_PER_MEMBER_MAX = 64;
/** Threads of one rank: more than the cores of a large machine only wait for one another. */
export const THREADS_PER_RANK_MAX = 256;
/** The step counter is an unsigned 64-bit number on the wire and a 20-digit one in names; a job of this many steps would run for decades. */
export const STEPS_MAX = 1_000_000_000;
/** Passes over the data: beyond it every small model has learned its data by heart long ago. */
export const EPOCHS_MAX = 10_000;
/** Rows of one optimizer step; the data index addresses them with 32 bits. */
export const BATCH_SIZE_MAX = 1_048_576;
/** A rate above 10 never trained anything; it is a slip of the decimal point. */
export const LEARNING_RATE_MAX = 10;
/** Tokens of one row: longer contexts than any model we can load has. */
export const ROW_TOKENS_MAX = 4_194_304;
/** Lanes of one step: the canonical tree then has 20 levels. */
export const LANES_MAX = 1_048_576;
/** LoRA's r: beyond it full tuning is cheaper. */
export const LORA_R_MAX = 4096;
/** Seeds are exact in JSON numbers up to 2^53; the random keys take them in two 32-bit words. */
export const SEED_MAX = Number.MAX_SAFE_INTEGER;
/** Kubernetes' own bounds of a user's priority. */
export const PRIORITY_MAX = 1_000_000_000;
/** Tries per cause before a job fails. */
export const FAULT_BUDGET_MAX = 1000;
/** Ten years. */
export const DEADLINE_SECONDS_MAX = 315_360_000;
/** Checkpoints kept: each is listed and looked at when a head is chosen. */
export const KEEP_LAST_MAX = 1000;
/** Exports of one job. */
export const EXPORTS_MAX = 8;

/** Problems that a data report lists; the rest is counted. */
export const DATA_PROBLEMS_MAX = 50;
/** Fewer examples than this teach nothing and are usually a wrong file. */
export const EXAMPLES_MIN = 10;
/** Characters of one line of a data file (UTF-16 units; readers check 4 MB of bytes before decoding). */
export const LINE_CHARACTERS_MAX = 4_194_304;
/** Tools of one chat row. */
export const TOOLS_MAX = 128;
/** Characters of a user's text that a message quotes. */
export const QUOTE_CHARACTERS_MAX = 40;
