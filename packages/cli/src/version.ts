/** One version for everything: chart, images, command line, trainer. A test compares it with package.json. */
export const VERSION = "0.1.0";
