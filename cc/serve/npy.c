#include "npy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               ".npy data is copied as it lies in memory");

static const char kMagic[] = "\x93NUMPY";
enum { kMagicSize = 6, kVersionSize = 2, kAlignment = 64 };

// What is left to read of a header, a Python dict literal such as
// {'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }
typedef struct {
  const char* path;
  const char* at;  // ends with a zero byte
} Header;

static _Noreturn void FailHeader(const Header* header, const char* wanted) {
  Fail(kExitFailed, "%s: malformed .npy header: expected %s at '%.20s'",
       header->path, wanted, header->at);
}

static void SkipSpaces(Header* header) {
  header->at += strspn(header->at, " \t\n");
}

static bool Accept(Header* header, const char* token) {
  SkipSpaces(header);
  size_t length = strlen(token);
  if (strncmp(header->at, token, length)) return false;
  header->at += length;
  return true;
}

static void Expect(Header* header, const char* token) {
  if (!Accept(header, token)) FailHeader(header, token);
}

// A quoted string without escapes, which no key or `descr` of a plain array
// has. Longer than `size` - 1 is malformed.
static void ReadQuoted(Header* header, char* text, size_t size) {
  SkipSpaces(header);
  char quote = *header->at;
  if (quote != '\'' && quote != '"') FailHeader(header, "a quoted string");
  const char* start = header->at + 1;
  const char* end = strchr(start, quote);
  if (!end || (size_t)(end - start) >= size)
    FailHeader(header, "a short quoted string");
  memcpy(text, start, end - start);
  text[end - start] = '\0';
  header->at = end + 1;
}

// Bytes of a string, which 'S5' says, or -1: another kind of `descr`. NumPy
// writes no 'S0', of which a small file could hold any number.
static int64_t StringSize(const char* descr) {
  if (descr[0] != 'S' || descr[1] < '0' || descr[1] > '9') return -1;
  char* end;
  int64_t size = strtoimax(descr + 1, &end, 10);
  return *end || size < 1 || size > INT32_MAX ? -1 : size;
}

static void ReadDescr(Header* header, NpyArray* array) {
  SkipSpaces(header);
  if (*header->at == '[')
    Fail(kExitFailed, "%s: structured arrays are not supported", header->path);
  char descr[16];
  ReadQuoted(header, descr, sizeof descr);
  int64_t string = descr[0] ? StringSize(descr + 1) : -1;
  const DType* dtype = string > 0 ? DTypeOf(TF_STRING)
                       : descr[0] ? DTypeOfNpy(descr + 1)
                                  : NULL;
  if (!dtype || !strchr("<>|=", descr[0]))
    Fail(kExitFailed,
         "%s: arrays of dtype '%s' are not supported; give bool, integers, "
         "floats, complex numbers or bytes ('S')",
         header->path, descr);
  array->dtype = dtype;
  array->size = string > 0 ? (size_t)string : dtype->size;
  if (descr[0] == '>' && dtype->size > 1)
    Fail(kExitFailed,
         "%s: big-endian data ('%s'); save array.astype('<%s') instead",
         header->path, descr, dtype->npy);
}

static void ReadDims(Header* header, NpyArray* array) {
  Expect(header, "(");
  while (!Accept(header, ")")) {
    SkipSpaces(header);
    if (*header->at < '0' || *header->at > '9')
      FailHeader(header, "a dimension");
    char* end;
    errno = 0;
    intmax_t dim = strtoimax(header->at, &end, 10);
    if (errno || array->rank == kMaxRank)
      Fail(kExitFailed, "%s: a shape of this size is not possible",
           header->path);
    array->dims[array->rank++] = dim;
    header->at = end;
    Accept(header, "L");  // Python 2 wrote long integers so
    if (!Accept(header, ",")) {
      Expect(header, ")");
      break;
    }
  }
  if (!ElementCount(array->rank, array->dims, &array->count))
    Fail(kExitFailed, "%s: a shape of this size is not possible", header->path);
}

static void RefuseFortranOrder(Header* header) {
  if (Accept(header, "True"))
    Fail(kExitFailed,
         "%s: the array is in Fortran order; save "
         "np.ascontiguousarray(array) instead",
         header->path);
  Expect(header, "False");
}

static NpyArray ParseHeader(const char* path, const char* text) {
  Header header = {path, text};
  NpyArray array = {0};
  bool order = false, shape = false;
  Expect(&header, "{");
  while (!Accept(&header, "}")) {
    char key[16];
    ReadQuoted(&header, key, sizeof key);
    Expect(&header, ":");
    if (!strcmp(key, "descr") && !array.dtype) {
      ReadDescr(&header, &array);
    } else if (!strcmp(key, "fortran_order") && !order) {
      RefuseFortranOrder(&header);
      order = true;
    } else if (!strcmp(key, "shape") && !shape) {
      ReadDims(&header, &array);
      shape = true;
    } else {
      FailHeader(&header, "the keys descr, fortran_order and shape, once each");
    }
    if (!Accept(&header, ",")) {
      Expect(&header, "}");
      break;
    }
  }
  SkipSpaces(&header);
  if (*header.at) FailHeader(&header, "nothing more");
  if (!array.dtype || !order || !shape)
    FailHeader(&header, "the keys descr, fortran_order and shape");
  return array;
}

static FILE* OpenFile(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  struct stat status;
  if (!file || fstat(fileno(file), &status))
    Fail(kExitFailed, "cannot read %s: %s", path, strerror(errno));
  if (!S_ISREG(status.st_mode))
    Fail(kExitFailed, "cannot read %s: not a regular file", path);
  *size = (size_t)status.st_size;
  return file;
}

static void ReadExactly(const char* path, FILE* file, void* to, size_t size) {
  errno = 0;
  if (fread(to, 1, size, file) != size)
    Fail(kExitFailed, "cannot read %s: %s", path,
         errno ? strerror(errno) : "the file ends too early");
}

char* ReadBytes(const char* path, size_t* size) {
  FILE* file = OpenFile(path, size);
  char* bytes = Allocate(*size + 1, 1);
  ReadExactly(path, file, bytes, *size);
  fclose(file);
  return bytes;
}

// The header's text, and in `size` what is left of the file behind it.
static char* ReadHeaderText(const char* path, FILE* file, size_t* size) {
  uint8_t start[kMagicSize + kVersionSize + 4];
  size_t used = kMagicSize + kVersionSize + 2;
  if (*size < used || fread(start, 1, used, file) != used ||
      memcmp(start, kMagic, kMagicSize))
    Fail(kExitFailed, "%s: not a .npy file", path);
  int version = start[kMagicSize];
  if (version < 1 || version > 3)
    Fail(kExitFailed, "%s: .npy version %d is not known", path, version);
  const uint8_t* at = start + kMagicSize + kVersionSize;
  size_t length = at[0] | (size_t)at[1] << 8;
  if (version > 1) {
    ReadExactly(path, file, start + used, 2);
    length |= (size_t)at[2] << 16 | (size_t)at[3] << 24;
    used += 2;
  }
  if (*size < used || length > *size - used)
    Fail(kExitFailed, "%s: the .npy header runs past the end of the file",
         path);
  char* text = Allocate(length + 1, 1);
  ReadExactly(path, file, text, length);
  if (strlen(text) != length)
    Fail(kExitFailed, "%s: malformed .npy header: it has a zero byte", path);
  *size -= used + length;
  return text;
}

NpyArray ReadNpy(const char* path) {
  size_t left;
  FILE* file = OpenFile(path, &left);
  char* text = ReadHeaderText(path, file, &left);
  NpyArray array = ParseHeader(path, text);
  free(text);
  size_t size;
  if (__builtin_mul_overflow(array.count, array.size, &size))
    Fail(kExitFailed, "%s: a shape of this size is not possible", path);
  if (size != left) {
    char* shape = ShapeText(array.rank, array.dims);
    Fail(kExitFailed, "%s: %s %s takes %zu bytes, the file has %zu", path,
         array.dtype->name, shape, size, left);
  }
  array.data = Allocate(size, 1);
  ReadExactly(path, file, array.data, size);
  fclose(file);
  return array;
}

bool WriteNpy(FILE* file, const DType* dtype, int rank, const int64_t* dims,
              const void* data, size_t size) {
  char* text = NULL;
  size_t length = 0;
  FILE* header = open_memstream(&text, &length);
  if (!header) return false;
  fprintf(header, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
          dtype->size == 1 ? '|' : '<', dtype->npy);
  for (int i = 0; i < rank; ++i)
    fprintf(header, "%s%" PRId64 "%s", i ? ", " : "", dims[i],
            rank == 1 ? "," : "");
  fputs("), }", header);
  fflush(header);
  // The data starts at a multiple of 64 so that it can be mapped.
  size_t before = kMagicSize + kVersionSize + 2;
  size_t padding = kAlignment - 1 - (before + length) % kAlignment;
  fprintf(header, "%*s\n", (int)padding, "");
  if (fclose(header)) return false;
  // At most 64 dimensions of 20 characters: two bytes of length are enough.
  uint8_t tail[] = {1, 0, length & 0xff, length >> 8};
  bool written = fwrite(kMagic, 1, kMagicSize, file) == kMagicSize &&
                 fwrite(tail, 1, sizeof tail, file) == sizeof tail &&
                 fwrite(text, 1, length, file) == length &&
                 fwrite(data, 1, size, file) == size;
  free(text);
  return written;
}
