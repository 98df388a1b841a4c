#ifndef TFSAL_CC_SERVE_OPTIONS_H_
#define TFSAL_CC_SERVE_OPTIONS_H_

#include <stdbool.h>

// One --input NAME=FILE.npy or NAME=@FILE; of the latter, those of one name are
// the strings of one input, in order.
typedef struct {
  char* name;
  const char* path;
  bool raw;  // @: the file's bytes are one string
} InputOption;

typedef struct {
  const char* bundle;
  bool list;
  const char* signature;
  const char* output_dir;  // NULL: write nothing
  int repeat;
  int threads;  // 0: TensorFlow decides
  int num_inputs;
  InputOption* inputs;
  int num_op_libraries;
  const char** op_libraries;
} Options;

// Reads the command line. Answers --help and --version itself, and exits.
Options ParseOptions(int argc, char** argv);
void FreeOptions(Options* options);

#endif  // TFSAL_CC_SERVE_OPTIONS_H_
