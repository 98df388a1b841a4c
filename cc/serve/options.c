#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "tensorflow/c/c_api.h"

static const char kHelp[] =
    "usage: tfsal_run BUNDLE --list\n"
    "       tfsal_run BUNDLE [--signature NAME] [--input NAME=FILE.npy]...\n"
    "                 [--output-dir DIR] [--repeat N] [--threads N]\n"
    "                 [--op-library FILE.so]...\n"
    "       tfsal_run --help | --version\n"
    "\n"
    "Loads a SavedModel and answers one of its signatures, with no Python.\n"
    "Prints a JSON object; errors go to stderr.\n"
    "\n"
    "  --list               print the signatures, their inputs and outputs\n"
    "  --signature NAME     the signature to answer (serving_default)\n"
    "  --input NAME=FILE    the .npy file of an input; once for each input "
    "that\n"
    "                       has no default. Numbers are converted to the\n"
    "                       input's dtype where nothing is lost but "
    "precision;\n"
    "                       strings are an array of bytes\n"
    "  --input NAME=@FILE   the file's bytes as one string; given again for "
    "the\n"
    "                       same input, the next one\n"
    "  --output-dir DIR     write every output to DIR/NAME.npy (strings to\n"
    "                       DIR/NAME.bin, PNG files to DIR/NAME.png); no new "
    "file stays if one fails\n"
    "  --repeat N           answer N times more and print the latency\n"
    "  --threads N          threads of TensorFlow's two pools\n"
    "  --op-library FILE    a library of custom ops that the SavedModel needs\n"
    "\n"
    "Exit status: 0 answered, 1 refused or failed, 2 wrong usage.\n"
    "TF_CPP_MIN_LOG_LEVEL=0 shows TensorFlow's log.\n";

static void PrintVersion(void) {
  printf("tfsal_run %s, TensorFlow %s\n", TFSAL_VERSION, TF_Version());
}

static int ParseInteger(const char* option, const char* text, int min,
                        int max) {
  char* end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno || end == text || *end || value < min || value > max)
    Fail(kExitUsage, "--%s takes a number from %d to %d, not '%s'", option, min,
         max, text);
  return (int)value;
}

static void AddInput(Options* options, const char* text) {
  const char* equals = strchr(text, '=');
  if (!equals || equals == text || !equals[1] || !strcmp(equals, "=@"))
    Fail(kExitUsage, "--input takes NAME=FILE.npy or NAME=@FILE, not '%s'",
         text);
  InputOption input = {.name = strndup(text, equals - text),
                       .path = equals + 1};
  if (*input.path == '@') {
    input.raw = true;
    ++input.path;
  }
  for (int i = 0; i < options->num_inputs; ++i) {
    const InputOption* other = &options->inputs[i];
    if (!strcmp(other->name, input.name) && !(other->raw && input.raw))
      Fail(kExitUsage, "--input %s is given twice; only NAME=@FILE may be",
           input.name);
  }
  options->inputs[options->num_inputs++] = input;
}

Options ParseOptions(int argc, char** argv) {
  static const struct option kOptions[] = {
      {"list", no_argument, NULL, 'l'},
      {"signature", required_argument, NULL, 's'},
      {"input", required_argument, NULL, 'i'},
      {"output-dir", required_argument, NULL, 'o'},
      {"repeat", required_argument, NULL, 'r'},
      {"threads", required_argument, NULL, 't'},
      {"op-library", required_argument, NULL, 'p'},
      {"help", no_argument, NULL, 'h'},
      {"version", no_argument, NULL, 'v'},
      {NULL, 0, NULL, 0}};
  Options options = {.signature = "serving_default"};
  options.inputs = Allocate(argc, sizeof *options.inputs);
  options.op_libraries = Allocate(argc, sizeof *options.op_libraries);
  opterr = 0;  // our own messages, below
  for (int option;
       (option = getopt_long(argc, argv, ":", kOptions, NULL)) != -1;) {
    switch (option) {
      case 'l':
        options.list = true;
        break;
      case 's':
        options.signature = optarg;
        break;
      case 'i':
        AddInput(&options, optarg);
        break;
      case 'o':
        options.output_dir = optarg;
        break;
      case 'r':
        options.repeat = ParseInteger("repeat", optarg, 0, 1000000);
        break;
      case 't':
        options.threads = ParseInteger("threads", optarg, 1, 1024);
        break;
      case 'p':
        options.op_libraries[options.num_op_libraries++] = optarg;
        break;
      case 'h':
        fputs(kHelp, stdout);
        FinishStdout();
        exit(kExitOk);
      case 'v':
        PrintVersion();
        FinishStdout();
        exit(kExitOk);
      case ':':
        Fail(kExitUsage, "%s takes a value; see tfsal_run --help",
             argv[optind - 1]);
      default:
        // Of a group of short options, getopt says only which letter it was.
        if (!strncmp(argv[optind - 1], "--", 2))
          Fail(kExitUsage, "bad option %s; see tfsal_run --help",
               argv[optind - 1]);
        Fail(kExitUsage, "bad option -%c; see tfsal_run --help", optopt);
    }
  }
  if (optind + 1 != argc)
    Fail(kExitUsage, "%s; see tfsal_run --help",
         optind == argc ? "no SavedModel given" : "more than one SavedModel");
  options.bundle = argv[optind];
  return options;
}

void FreeOptions(Options* options) {
  for (int i = 0; i < options->num_inputs; ++i) free(options->inputs[i].name);
  free(options->inputs);
  free(options->op_libraries);
}
