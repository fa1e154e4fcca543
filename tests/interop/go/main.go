// A client of the gateway on grpc-go: `client suspend CARD_ID | watch | answer`.
// It prints a JSON object for each thing that happens. Where the gateway is, and who we are, stands in the environment.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	callback "d1gateway.internal/contracts/issuer/callback/v1"
	card "d1gateway.internal/contracts/issuer/card/v1"
	common "d1gateway.internal/contracts/issuer/common/v1"
	notification "d1gateway.internal/contracts/issuer/notification/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

func connect(address, ca, certificate, key string) (*grpc.ClientConn, error) {
	authority, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s has no certificate", ca)
	}
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	return grpc.Dial(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
}

func errorDetail(err error) *common.ErrorDetail {
	for _, each := range status.Convert(err).Details() {
		if detail, ok := each.(*common.ErrorDetail); ok {
			return detail
		}
	}
	return &common.ErrorDetail{}
}

func suspend(gateway *grpc.ClientConn, cardID string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := card.NewCardServiceClient(gateway).SuspendCard(ctx, &card.SuspendCardRequest{
		CardId:     cardID,
		ReasonCode: "FRAUD",
	})
	return err
}

func watch(ctx context.Context, gateway *grpc.ClientConn, seen func(*notification.Notification)) error {
	earliest := &notification.WatchNotificationsRequest_Position{Position: notification.StartPosition_START_POSITION_EARLIEST}
	batches, err := notification.NewNotificationServiceClient(gateway).WatchNotifications(
		ctx, &notification.WatchNotificationsRequest{Start: earliest})
	if err != nil {
		return err
	}
	for {
		batch, err := batches.Recv()
		if err != nil {
			return err
		}
		for _, each := range batch.Notifications {
			seen(each)
		}
	}
}

func answer(ctx context.Context, gateway *grpc.ClientConn, sendSMS func(consumerID, otp string), told func(any)) error {
	stream, err := callback.NewCallbackServiceClient(gateway).HandleCallbacks(ctx)
	if err != nil {
		return err
	}
	registration := &callback.HandlerRegistration{
		Name:          "sms-service",
		CallbackKinds: []callback.CallbackKind{callback.CallbackKind_CALLBACK_KIND_DELIVER_OTP},
	}
	err = stream.Send(&callback.HandleCallbacksRequest{
		Message: &callback.HandleCallbacksRequest_Registration{Registration: registration},
	})
	for err == nil {
		var message *callback.HandleCallbacksResponse
		if message, err = stream.Recv(); err != nil {
			break
		}
		request := message.GetCallbackRequest()
		if request == nil {
			told(message.Message)
			continue
		}
		sendSMS(request.GetDeliverOtp().ConsumerId, request.GetDeliverOtp().Otp)
		reply := &callback.CallbackReply{
			Token:    request.Token,
			Response: &callback.CallbackReply_DeliverOtp{DeliverOtp: &callback.DeliverOtpResponse{}},
		}
		err = stream.Send(&callback.HandleCallbacksRequest{
			Message: &callback.HandleCallbacksRequest_CallbackReply{CallbackReply: reply},
		})
	}
	return err
}

func printed(happened map[string]any) {
	text, err := json.Marshal(happened)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
}

func file(name string) string {
	return os.Getenv("D1_GATEWAY_CLIENT_" + name + "_FILE")
}

func main() {
	gateway, err := connect(os.Getenv("D1_GATEWAY_CLIENT_ADDRESS"), file("CA"), file("CERTIFICATE"), file("KEY"))
	if err != nil {
		log.Fatal(err)
	}
	defer gateway.Close()
	switch os.Args[1] {
	case "suspend":
		cardID := os.Args[2]
		if err := suspend(gateway, cardID); err != nil {
			detail := errorDetail(err)
			printed(map[string]any{"reason": detail.Reason.String(), "outcome": detail.Outcome.String()})
		} else {
			printed(map[string]any{"suspended": cardID})
		}
	case "watch":
		err = watch(context.Background(), gateway, func(each *notification.Notification) {
			operation := each.GetThreeDsOperation()
			printed(map[string]any{"card": each.CardId, "operation": operation.TypeText, "status": operation.StatusText})
		})
	case "answer":
		err = answer(context.Background(), gateway,
			func(consumerID, otp string) { printed(map[string]any{"consumer": consumerID, "otp": otp}) },
			func(message any) {
				switch each := message.(type) {
				case *callback.HandleCallbacksResponse_Registered:
					printed(map[string]any{"registered": true})
				case *callback.HandleCallbacksResponse_Acknowledgement:
					printed(map[string]any{"acknowledgement": each.Acknowledgement.Outcome.String()})
				}
			})
	}
	if err != nil {
		log.Fatal(err)
	}
}
