# A client in Perl, with nothing but what comes with Perl: `perl client.pl own`, then `perl client.pl call`.
use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(encode_base64);

my $URL = "ws://127.0.0.1:8765/";

# --- a WebSocket ---

my ($host, $port) = $URL =~ m{^ws://([^:/]+):(\d+)/$} or die "not a URL: $URL\n";
my $socket = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port) or die "nobody listens at $URL\n";
$socket->autoflush(1);

my $key = encode_base64(random_bytes(16), "");
print $socket "GET / HTTP/1.1\r\nHost: $host:$port\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: $key\r\nSec-WebSocket-Protocol: resroute.v1\r\n\r\n";
my $status = <$socket> // "";
$status =~ m{^HTTP/1\.1 101 } or die "refused: $status";
while (defined(my $header = <$socket>)) { last if $header eq "\r\n" }

sub random_bytes { return join "", map { chr int rand 256 } 1 .. shift }

sub read_bytes {
    my ($count) = @_;
    my $bytes = "";
    while (length $bytes < $count) {
        read($socket, $bytes, $count - length $bytes, length $bytes) or die "the connection broke\n";
    }
    return $bytes;
}

sub send_frame {
    my ($opcode, $payload) = @_;
    my $size = length $payload;
    my $length = $size < 126 ? pack("C", 0x80 | $size) : $size < 65536 ? pack("Cn", 0xFE, $size) : pack("CQ>", 0xFF, $size);
    my $mask = random_bytes(4);    # whoever connects masks what it sends
    print $socket pack("C", 0x80 | $opcode), $length, $mask, $payload ^ substr($mask x ($size / 4 + 1), 0, $size);
}

# The next text message; nothing after a Close.
sub receive_text {
    my $text = "";
    while (1) {
        my ($first, $size) = unpack "CC", read_bytes(2);
        $size = unpack "n", read_bytes(2) if $size == 126;
        $size = unpack "Q>", read_bytes(8) if $size == 127;
        my $payload = read_bytes($size);
        my $opcode = $first & 0x0F;
        if ($opcode == 8) { send_frame(8, $payload); return }
        if ($opcode == 9) { send_frame(10, $payload); next }    # a Ping is answered by a Pong
        next if $opcode == 10;
        $text .= $payload;                                      # large messages come in several frames
        return $text if $first & 0x80;
    }
}

# --- JSON-RPC, in both directions ---

my $json = JSON::PP->new->utf8->canonical;
my $last_id = 0;
my %methods;    # what others can call

sub say_message { send_frame(1, $json->encode({ jsonrpc => "2.0", %{ $_[0] } })) }

sub hear_message {
    my $text = receive_text();
    return defined $text ? $json->decode($text) : undef;
}

# Ask, and wait for the answer. What others ask meanwhile is answered.
sub request {
    my ($method, $params) = @_;
    my $id = ++$last_id;
    say_message({ id => $id, method => $method, params => $params });
    while (my $message = hear_message()) {
        if (exists $message->{method}) { serve($message) }
        elsif (defined $message->{id} and $message->{id} eq $id) {
            die $message if exists $message->{error};
            return $message->{result};
        }
    }
    die "the router has closed the connection\n";
}

sub serve {
    my ($message) = @_;
    return unless exists $message->{id};    # a notification: nothing here needs any
    my $method = $methods{ $message->{method} };
    my $answer
        = $method
        ? { result => $method->($message->{params}, $message->{meta}) }
        : { error => { code => -32601, message => "there is no method $message->{method}" } };
    say_message({ id => $message->{id}, %$answer });
}

# --- the two programs ---

sub own {
    $methods{read} = sub {
        my ($params, $meta) = @_;
        return "line $params->{line} of $meta->{resource_id}";
    };
    request("instance.register", { service_name => "documents" });
    my $registered = request("resource.register", { resource_ids => ["doc:1"] })->{registered};
    $| = 1;
    print "@$registered is ours\n";
    while (my $message = hear_message()) { serve($message) if exists $message->{method} }
}

sub call {
    my ($resource_id, $method) = @_;
    my $params = { resource_id => $resource_id, method => $method, params => { line => 3 }, timeout_seconds => 10 };
    my $result = eval { request("route.call", $params) };
    if (my $message = $@) {
        die $message unless ref $message;
        my $error = $message->{error};
        # only where the router says so it is the router's word
        my $is_routers = (($message->{meta} // {})->{origin} // "") eq "router";
        print $is_routers ? "router: $error->{code} $error->{data}{type}\n" : "callee: $error->{code} $error->{message}\n";
        return;
    }
    print "$result\n";
}

if (($ARGV[0] // "") eq "own") { own() }
else {
    call("doc:1", "read");
    call("doc:1", "print");
    call("doc:2", "read");
    send_frame(8, pack "n", 1000);
    receive_text();
}
