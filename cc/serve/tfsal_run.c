// tfsal_run: loads a SavedModel and answers one signature; no Python.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "answer.h"
#include "inputs.h"
#include "options.h"
#include "outputs.h"
#include "quiet.h"
#include "report.h"
#include "session.h"

static double NowMs(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static const Signature* ChooseSignature(const Bundle* bundle,
                                        const char* name) {
  const Signature* signature = FindSignature(&bundle->signatures, name);
  if (signature) return signature;
  char* known = Format("%s", "");
  for (int i = 0; i < bundle->signatures.count; ++i) {
    char* longer = Format("%s%s%s", known, i ? ", " : "",
                          bundle->signatures.signatures[i].name);
    free(known);
    known = longer;
  }
  Fail(kExitFailed, "no signature '%s'; this SavedModel has: %s", name,
       *known ? known : "none");
}

static void DeleteTensors(TF_Tensor** tensors, int count) {
  for (int i = 0; i < count; ++i) TF_DeleteTensor(tensors[i]);
}

// Answers the request once more, `repeat` times; only the time is of interest.
static double* MeasureLatency(const Bundle* bundle, const Call* call,
                              TF_Tensor* const* feeds, int repeat) {
  int count = call->signature->num_outputs;
  TF_Tensor** outputs = Allocate(count, sizeof *outputs);
  double* latency_ms = Allocate(repeat, sizeof *latency_ms);
  for (int i = 0; i < repeat; ++i) {
    double start = NowMs();
    RunCall(bundle, call, feeds, outputs);
    latency_ms[i] = NowMs() - start;
    DeleteTensors(outputs, count);
  }
  free(outputs);
  return latency_ms;
}

static void Answer(const Options* options, const Bundle* bundle,
                   const InputFile* files, double load_ms) {
  const Signature* signature = ChooseSignature(bundle, options->signature);
  TF_Tensor** feeds = MakeFeeds(signature, files, options->num_inputs);
  Call call = PrepareCall(bundle, signature);
  TF_Tensor** outputs = Allocate(signature->num_outputs, sizeof *outputs);

  double start = NowMs();
  RunCall(bundle, &call, feeds, outputs);
  Timing timing = {.load_ms = load_ms, .first_ms = NowMs() - start};
  if (IsExplanation(signature)) RefuseWrongClass(signature, outputs);
  timing.latency_ms = MeasureLatency(bundle, &call, feeds, options->repeat);

  OutputFiles written = {0, NULL};
  if (options->output_dir)
    written = WriteOutputs(signature, outputs, options->output_dir);
  PrintAnswer(options, signature, outputs, &written, &timing);

  FreeOutputFiles(&written);
  free(timing.latency_ms);
  DeleteTensors(outputs, signature->num_outputs);
  free(outputs);
  FreeCall(&call);
  DeleteTensors(feeds, signature->num_inputs);
  free(feeds);
}

int main(int argc, char** argv) {
  RestoreStderr();
  // A file size limit should be an error to report, as a full disk is, not a
  // signal that leaves temporary files behind.
  signal(SIGXFSZ, SIG_IGN);
  Options options = ParseOptions(argc, argv);
  InputFile* files = ReadInputs(&options);

  for (int i = 0; i < options.num_op_libraries; ++i)
    LoadOpLibrary(options.op_libraries[i]);
  double start = NowMs();
  Bundle bundle = LoadBundle(options.bundle, options.threads);
  double load_ms = NowMs() - start;

  if (options.list)
    PrintSignatures(&bundle.signatures);
  else
    Answer(&options, &bundle, files, load_ms);

  FreeBundle(&bundle);
  FreeInputs(files, options.num_inputs);
  FreeOptions(&options);
  FinishStdout();
  return kExitOk;
}
