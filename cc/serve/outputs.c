#include "outputs.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert.h"
#include "npy.h"
#include "report.h"
#include "tensorflow/c/tf_tstring.h"

void RefuseWrongClass(const Signature* signature, TF_Tensor* const* outputs) {
  const TensorSpec* spec = FindTfsalOutput(signature, "class_index");
  const TF_Tensor* tensor = outputs[spec - signature->outputs];
  const DType* dtype = DTypeOf(TF_TensorType(tensor));
  if (dtype->kind != kSigned) return;
  int64_t count = TF_TensorElementCount(tensor);
  int64_t per_row = TF_NumDims(tensor) && count ? count / TF_Dim(tensor, 0) : 1;
  for (int64_t k = 0; k < count; ++k) {
    int64_t value;
    ConvertElements(dtype, (const char*)TF_TensorData(tensor) + k * dtype->size,
                    DTypeOf(TF_INT64), &value, 1);
    if (value == -2)
      Fail(
          kExitFailed,
          "row %" PRId64
          " has no answer: its class_index is out of range for this model (-1 "
          "asks for the top class), its score is NaN, or its image file cannot "
          "be read",
          k / per_row);
  }
}

static const DType* FileDType(TF_DataType type) {
  // NumPy has no bfloat16; float32 holds each of its values.
  return DTypeOf(type == TF_BFLOAT16 ? TF_FLOAT : type);
}

// .npy, and for strings .png where they are that, so that viewers open them.
static const char* Suffix(const TF_Tensor* tensor, int64_t element) {
  if (TF_TensorType(tensor) != TF_STRING) return "npy";
  static const char kPng[] = "\x89PNG\r\n\x1a\n";
  const TF_TString* string = (const TF_TString*)TF_TensorData(tensor) + element;
  bool png = TF_StringGetSize(string) >= sizeof kPng - 1 &&
             !memcmp(TF_StringGetDataPointer(string), kPng, sizeof kPng - 1);
  return png ? "png" : "bin";
}

// DIR/NAME.SUFFIX, or of several strings DIR/NAME.ELEMENT.SUFFIX.
static char* OutputPath(const char* dir, const char* name, int64_t element,
                        const char* suffix) {
  static const char kSafe[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  char* safe = Format("%s", name);
  for (char* at = safe; *at; ++at)
    if (!strchr(kSafe, *at)) *at = *at == '/' ? '.' : '_';
  char* path = element < 0
                   ? Format("%s/%s.%s", dir, safe, suffix)
                   : Format("%s/%s.%" PRId64 ".%s", dir, safe, element, suffix);
  free(safe);
  return path;
}

static int64_t CountFiles(const TensorSpec* spec, const TF_Tensor* tensor) {
  TF_DataType type = TF_TensorType(tensor);
  if (type == TF_STRING) return TF_TensorElementCount(tensor);
  if (!FileDType(type)->npy)
    Fail(kExitFailed, "output '%s' is %s, which no .npy file can hold",
         spec->name, DTypeOf(type)->name);
  return 1;
}

static int ComparePaths(const void* a, const void* b) {
  return strcmp((*(const OutputFile* const*)a)->path,
                (*(const OutputFile* const*)b)->path);
}

// Two names can become one file: 'a/b' and 'a.b'.
static void CheckCollisions(const Signature* signature,
                            const OutputFiles* files) {
  const OutputFile** sorted = Allocate(files->count, sizeof *sorted);
  for (int i = 0; i < files->count; ++i) sorted[i] = &files->files[i];
  qsort(sorted, files->count, sizeof *sorted, ComparePaths);
  for (int i = 1; i < files->count; ++i)
    if (!ComparePaths(&sorted[i - 1], &sorted[i]))
      Fail(kExitFailed, "outputs '%s' and '%s' would both be written to %s",
           signature->outputs[sorted[i - 1]->output].name,
           signature->outputs[sorted[i]->output].name, sorted[i]->path);
  free(sorted);
}

static OutputFiles PlanFiles(const Signature* signature,
                             TF_Tensor* const* outputs, const char* dir) {
  int64_t total = 0;
  for (int i = 0; i < signature->num_outputs; ++i)
    total += CountFiles(&signature->outputs[i], outputs[i]);
  OutputFiles files = {0, Allocate(total, sizeof *files.files)};
  for (int i = 0; i < signature->num_outputs; ++i) {
    bool string = TF_TensorType(outputs[i]) == TF_STRING;
    int64_t count = CountFiles(&signature->outputs[i], outputs[i]);
    for (int64_t k = 0; k < count; ++k) {
      OutputFile* file = &files.files[files.count++];
      file->output = i;
      file->element = string ? k : -1;
      file->path = OutputPath(dir, signature->outputs[i].name,
                              count > 1 ? k : -1, Suffix(outputs[i], k));
    }
  }
  CheckCollisions(signature, &files);
  return files;
}

static void MakeDirectories(const char* dir) {
  char* path = Format("%s", dir);
  for (char* at = path + 1;; ++at) {
    char c = *at;
    if (c != '/' && c != '\0') continue;
    *at = '\0';
    struct stat status;
    if (mkdir(path, 0777) && (stat(path, &status) || !S_ISDIR(status.st_mode)))
      Fail(kExitFailed, "cannot make the directory %s: %s", path,
           strerror(errno));
    *at = c;
    if (!c) break;
  }
  free(path);
}

static bool WriteTensor(FILE* file, const OutputFile* plan,
                        const TF_Tensor* tensor) {
  TF_DataType type = TF_TensorType(tensor);
  const void* data = TF_TensorData(tensor);
  if (type == TF_STRING) {
    const TF_TString* string = (const TF_TString*)data + plan->element;
    size_t size = TF_StringGetSize(string);
    return fwrite(TF_StringGetDataPointer(string), 1, size, file) == size;
  }
  const DType* dtype = FileDType(type);
  int64_t count = TF_TensorElementCount(tensor);
  size_t size = (size_t)count * dtype->size;
  int rank = TF_NumDims(tensor);
  int64_t* dims = Allocate(rank, sizeof *dims);
  for (int i = 0; i < rank; ++i) dims[i] = TF_Dim(tensor, i);
  void* converted = NULL;
  if (dtype->type != type) {
    converted = Allocate(size, 1);
    ConvertElements(DTypeOf(type), data, dtype, converted, count);
  }
  bool written =
      WriteNpy(file, dtype, rank, dims, converted ? converted : data, size);
  free(converted);
  free(dims);
  return written;
}

// Writes a file under its temporary name. False, with errno set, on failure.
static bool WriteTemporary(OutputFile* plan, const TF_Tensor* tensor,
                           const char* dir) {
  plan->temporary = Format("%s/.tfsal_run.XXXXXX", dir);
  int descriptor = mkstemp(plan->temporary);
  if (descriptor < 0) {
    free(plan->temporary);
    plan->temporary = NULL;
    return false;
  }
  // mkstemp's files are private; these get what any new file here would.
  mode_t mask = umask(0);
  umask(mask);
  FILE* file = fdopen(descriptor, "wb");
  bool written = file && !fchmod(descriptor, 0666 & ~mask) &&
                 WriteTensor(file, plan, tensor) && !fflush(file);
  int error = errno;
  // Some file systems report a full disk only here.
  bool closed = !(file ? fclose(file) : close(descriptor));
  if (!written) errno = error;
  return written && closed;
}

static void RemoveWritten(const OutputFiles* files) {
  for (int i = 0; i < files->count; ++i) {
    const OutputFile* file = &files->files[i];
    if (file->temporary)
      unlink(file->temporary);
    else if (file->is_new)
      unlink(file->path);
  }
}

static _Noreturn void FailWriting(const OutputFiles* files, const char* path) {
  int error = errno;
  RemoveWritten(files);
  Fail(kExitFailed, "cannot write %s: %s", path, strerror(error));
}

static volatile sig_atomic_t caught_signal;

static void CatchSignal(int number) { caught_signal = number; }

// Those that are ignored, as under nohup, stay ignored.
static void HandleSignals(void (*handler)(int)) {
  static const int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
  for (size_t i = 0; i < sizeof kSignals / sizeof *kSignals; ++i)
    if (signal(kSignals[i], handler) == SIG_IGN) signal(kSignals[i], SIG_IGN);
}

static void DieOfCaughtSignal(void) {
  HandleSignals(SIG_DFL);
  if (caught_signal) raise(caught_signal);
}

OutputFiles WriteOutputs(const Signature* signature, TF_Tensor* const* outputs,
                         const char* dir) {
  OutputFiles files = PlanFiles(signature, outputs, dir);
  MakeDirectories(dir);
  HandleSignals(CatchSignal);
  for (int i = 0; i < files.count; ++i) {
    OutputFile* file = &files.files[i];
    struct stat status;
    // The one thing that rename below could stumble over half way.
    if (!stat(file->path, &status) && S_ISDIR(status.st_mode)) {
      errno = EISDIR;
      FailWriting(&files, file->path);
    }
    if (!WriteTemporary(file, outputs[file->output], dir))
      FailWriting(&files, file->path);
    if (caught_signal) {
      RemoveWritten(&files);
      DieOfCaughtSignal();
    }
  }
  for (int i = 0; i < files.count; ++i) {
    OutputFile* file = &files.files[i];
    bool is_new = access(file->path, F_OK);
    if (rename(file->temporary, file->path)) FailWriting(&files, file->path);
    free(file->temporary);
    file->temporary = NULL;
    file->is_new = is_new;
  }
  DieOfCaughtSignal();
  return files;
}

void FreeOutputFiles(OutputFiles* files) {
  for (int i = 0; i < files->count; ++i) free(files->files[i].path);
  free(files->files);
  *files = (OutputFiles){0, NULL};
}
