#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>

#include "data/files/file.h"
#include "data/files/text.h"
#include "tests/data/encoders.h"
#include "tests/data/support.h"

using namespace nextgrad;
using namespace nextgrad::testing;
namespace fs = std::filesystem;

TEST_CASE("files are read whole, or the error names them") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.bin";
  const FileBytes bytes{1, 2, 3, 0, 255};
  write_file_atomic(path, bytes);
  CHECK(read_file(path) == bytes);
  CHECK(read_file(path, 5) == bytes);
  CHECK(input_error([&] { read_file(path, 4); }).find(path) == 0);
  CHECK(input_error([&] { read_file(folder / "none"); }).find(folder / "none") == 0);
  CHECK(input_error([&] { read_file(folder.path()); }).find("not a regular file") !=
        std::string::npos);
  CHECK(!input_error([&] { read_file("/dev/zero"); }).empty());
  write_file_atomic(path, std::string_view(""));
  CHECK(read_file(path).empty());
}

TEST_CASE("an atomic file replaces all or nothing") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.txt";
  write_file_atomic(path, std::string_view("old"));
  {
    AtomicFile file(path);
    file.write("new and", 7);
    CHECK(folder.files() == 2);
  }  // no commit
  CHECK(read_file(path) == bytes_of("old"));
  CHECK(folder.files() == 1);
  write_file_atomic(path, std::string_view("new"));
  CHECK(read_file(path) == bytes_of("new"));
  CHECK(folder.files() == 1);
  AtomicFile whole(path);
  whole.write("whole", 5);
  whole.commit();
  const auto late = [&](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return std::string(error.what()).find("commit") != std::string::npos;
    }
    return false;
  };
  CHECK(late([&] { whole.write("x", 1); }));
  CHECK(late([&] { whole.commit(); }));
  CHECK(read_file(path) == bytes_of("whole"));
}

TEST_CASE("an open file is known again by its path, until another takes its place") {
  const TemporaryFolder folder;
  const std::string path = folder / "a", other = folder / "b";
  write_file_atomic(path, std::string_view("a"));
  write_file_atomic(other, std::string_view("a"));
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "r"), fclose);
  CHECK(is_open_as(fileno(file.get()), path));
  CHECK_FALSE(is_open_as(fileno(file.get()), other));
  CHECK_FALSE(is_open_as(fileno(file.get()), folder / "missing"));
  write_file_atomic(path, std::string_view("a"));
  CHECK_FALSE(is_open_as(fileno(file.get()), path));
}

TEST_CASE("a link stays a link, a device stays a device") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "disk");
  fs::create_symlink("disk/a.txt", folder / "link");  // of a file that is still to come
  fs::create_symlink("link", folder / "chain");
  for (const std::string text : {"new", "newer"}) {
    write_file_atomic(folder / "chain", std::string_view(text));
    CHECK(fs::is_symlink(folder / "chain"));
    CHECK(fs::is_symlink(folder / "link"));
    CHECK(read_file(folder / "disk/a.txt") == bytes_of(text));
  }
  const std::string pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  fs::create_symlink("/dev/null", folder / "null");
  fs::create_symlink("round", folder / "round");
  for (const std::string& path :
       {pipe, std::string("/dev/null"), folder / "null", folder / "round"}) {
    CAPTURE(path);
    CHECK(!input_error([&] { const AtomicFile file(path); }).empty());
  }
  CHECK(fs::is_fifo(pipe));
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("what cannot be written is an error and leaves no trace") {
  const TemporaryFolder folder;
  CHECK(input_error([&] {
          write_file_atomic(folder.path() + "/no/such/a.txt", std::string_view("x"));
        }).find(folder.path() + "/no/such/a.txt") == 0);
  // A folder stands where the file should go.
  std::filesystem::create_directories(folder / "taken/inside");
  CHECK_THROWS_AS(write_file_atomic(folder / "taken", std::string_view("x")), Error);
  CHECK(folder.files() == 1);
  if (::geteuid() != 0) {
    const std::string closed = folder / "closed/a.txt";
    ::chmod((folder.path() + "/closed").c_str(), 0500);
    CHECK(!input_error([&] { write_file_atomic(closed, std::string_view("x")); }).empty());
    ::chmod((folder.path() + "/closed").c_str(), 0700);
  }
}

TEST_CASE("folders, pipes and Git LFS pointers are no files to read") {
  const TemporaryFolder folder;
  const std::string pipe = folder / "pipe", pointer = folder / "pointer";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  write_file_atomic(pointer,
                    std::string_view("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"));
  const auto said = [](const std::string& path, const std::string& what) {
    for (const std::string& message : {input_error([&] { read_file(path); }),
                                       input_error([&] { const InputFile file(path); })}) {
      CAPTURE(message);
      CHECK(message.find(path + ": ") == 0);
      CHECK(message.find(what) != std::string::npos);
    }
  };
  said(folder.path(), "is a folder");
  said(pipe, "is not a regular file");
  said("/dev/zero", "is not a regular file");
  said(pointer, "git lfs pull");
}

TEST_CASE("a text is cut between its characters") {
  const std::string text = "a\xc3\xb6\xe2\x82\xac";  // a, two bytes, three bytes
  const std::vector<std::size_t> ends{0, 1, 1, 3, 3, 3, 6, 6};
  for (std::size_t n = 0; n < ends.size(); ++n) CHECK(shortened(text, n).size() == ends[n]);
  CHECK(shortened("\x80\x80\x80\x80\x80\x80", 5).size() >= 2);  // no UTF-8
  CHECK(in_quotes(std::string(79, 'a') + "\xc3\xb6").find("ufffd") == std::string::npos);
}

TEST_CASE("a name as long as the file system takes is written") {
  const TemporaryFolder folder;
  for (const std::string& part : {std::string("x"), std::string("\xc3\xb6"), std::string("\xff")}) {
    std::string name;
    while (name.size() + part.size() <= 255) name += part;
    write_file_atomic(folder / name, std::string_view("long"));
    CHECK(read_file(folder / name) == bytes_of("long"));
  }
  CHECK(folder.files() == 3);
}

TEST_CASE("a disk that is full in the middle of a file leaves the old one") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.txt";
  write_file_atomic(path, std::string_view("old"));
  // A limit on the size of files fails a write half-way, as a full disk does.
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const rlimit tight{1000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
  std::string message;
  try {
    write_file_atomic(path, FileBytes(5000, 7));
  } catch (const Error& e) {
    message = e.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(message.find(path) == 0);
  CHECK(read_file(path) == bytes_of("old"));
  CHECK(folder.files() == 1);
}

TEST_CASE("folders are listed by suffix, sorted") {
  const TemporaryFolder folder;
  for (const char* name : {"b.JPG", "a.png", "c.txt", "sub/d.png"})
    write_file_atomic(folder / name, std::string_view("x"));
  const std::vector<std::string> wanted{folder / "a.png", folder / "b.JPG"};
  CHECK(list_files(folder.path(), {".png", ".jpg"}) == wanted);
  CHECK(list_files(folder.path()).size() == 3);
  CHECK(!input_error([&] { list_files(folder.path() + "/none"); }).empty());
}

TEST_CASE("a folder is listed with all beneath it, hidden companions aside") {
  const TemporaryFolder folder;
  for (const char* name : {"b.JPG", "a/c.png", "a/._c.png", "a/d/e.ppm", ".git/f.png", ".DS_Store",
                           "a/Thumbs.db", "labels/g.png", "._b.JPG"})
    write_file_atomic(folder / name, std::string_view("x"));
  fs::create_directory_symlink("a", folder.path() + "/link");  // followed
  const std::vector<std::string> pictures{"a/c.png",      "a/d/e.ppm",  "b.JPG",
                                          "labels/g.png", "link/c.png", "link/d/e.ppm"};
  CHECK(list_pictures(folder.path()) == pictures);
  const auto without = list_tree(folder.path(), {".png"}, {folder.path() + "/a/../labels"});
  CHECK(without == std::vector<std::string>{"a/c.png", "link/c.png"});
  CHECK(list_files(folder.path()) == std::vector<std::string>{folder / "b.JPG"});
}

TEST_CASE("what cannot be listed is refused by name") {
  const TemporaryFolder folder;
  write_file_atomic(folder / "a/b.png", std::string_view("x"));
  const std::string bad = folder.path() + "/a/z";
  const auto said = [&](const std::string& what) {
    const std::string message = input_error([&] { list_pictures(folder.path()); });
    fs::remove(bad);
    return message.find(bad) == 0 && message.find(what) != std::string::npos;
  };
  fs::create_symlink("gone.png", bad);
  CHECK(said("a link that leads nowhere"));
  fs::create_symlink("z", bad);  // to itself
  CHECK(said("a link that leads nowhere"));
  fs::create_directory_symlink("..", bad);
  CHECK(said("a link to a folder around it"));
  REQUIRE(::mkfifo((bad + ".png").c_str(), 0600) == 0);
  CHECK(said("neither a file nor a folder"));
  fs::rename(bad + ".png", bad + ".socket");  // nobody takes it for a picture
  CHECK(list_pictures(folder.path()) == std::vector<std::string>{"a/b.png"});
  fs::remove(bad + ".socket");
  fs::create_symlink("gone.png", folder.path() + "/a/.z");  // hidden: not missed
  CHECK(list_pictures(folder.path()) == std::vector<std::string>{"a/b.png"});
}
